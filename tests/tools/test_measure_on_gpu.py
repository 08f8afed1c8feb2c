"""The protocol for a GPU, as far as a machine without one can run it."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from repository import ROOT

from mmtlalign.tracing.kernels import gpu
from mmtlalign.tracing.kernels.blocks import TABLE, Block
from tools.benchmarks import gpu_verdict, measure_blocks
from tools.benchmarks.step.models import GROUPS

SCRIPT = ROOT / 'tools' / 'benchmarks' / 'measure_on_gpu.sh'


def read_verdicts(folder, capsys):
    """Return the verdicts by criterion."""
    gpu_verdict.main([str(folder)])
    cells = [x.split('|') for x in capsys.readouterr().out.splitlines()]
    return {c[1].strip(): c[4].strip() for c in cells if c[4:]}


def test_verdict_of_each_criterion(tmp_path, capsys):
    row = dict(
        model='deit-small',
        tokens=197,
        precision='bf16',
        ratios=dict(tlalign=dict(median=1.013), transmix=dict(median=1.03)),
        peak_ratios=dict(tlalign=1.0, transmix=1.0),
        waits=dict(tlalign=None, transmix='a.py:3: x.item()'),
    )
    for name in ('deit-small', 'deit-tiny'):
        steps = dict(shares='triton', rows=[row | dict(model=name)])
        (tmp_path / f'steps-{name}.json').write_text(json.dumps(steps))
    (tmp_path / 'correctness.txt').write_text('...\n61 passed in 20.1s\n')
    shapes = [dict(layer='DeiT-S 224', triton=25), dict(layer='DeiT-T 224', triton=25)]
    (tmp_path / 'shapes.json').write_text(json.dumps(shapes))
    found = read_verdicts(tmp_path, capsys)
    case = 'steps-deit-small: deit-small, 197 tokens, bf16'
    assert found['tests: correctness'] == 'pass'
    assert found[f'{case}: time of tlalign'] == 'pass'
    assert found[f'{case}: time of transmix'] == 'MISS'
    assert found[f'{case}: transmix waits'] == 'MISS'
    tiny = 'steps-deit-tiny: deit-tiny, 197 tokens, bf16'
    assert found[f'{tiny}: time of transmix'] == 'reported'
    assert found['compiled'] == found['steps-pvt-small'] == 'not measured'
    factor = 'kernel: {}, time to the calculated one'
    assert found[factor.format('DeiT-S 224')] == 'reported'
    assert found[factor.format('DeiT-T 224')] == 'slow tile'


def test_verdict_of_failures_is_a_miss(tmp_path, capsys):
    (tmp_path / 'correctness.txt').write_text('1 failed, 60 passed in 20.1s\n')
    (tmp_path / 'waits.part').write_text('..')
    (tmp_path / 'lengths.part').write_text('..')
    found = read_verdicts(tmp_path, capsys)
    assert found['tests: correctness'] == 'MISS'
    assert found['stage waits'] == found['stage lengths'] == 'MISS'


def test_calculated_times_are_those_of_the_measured_layers():
    assert list(gpu_verdict.MODEL) == list(measure_blocks.SHAPES)


def table_rows():
    """Return the rows of the table as they are tuned, by compute capability."""
    table = json.loads(TABLE.read_text(encoding='utf-8'))
    return {name: list(measure_blocks.split(rows)) for name, rows in table.items()}


def test_table_of_tiles_is_as_it_would_be_written():
    text = TABLE.read_text(encoding='utf-8')
    assert measure_blocks.format_table(json.loads(text)) == text
    for rows in table_rows().values():
        assert sum(measure_blocks.is_usual(row) and 'keys' in row for row in rows) == 1
        assert all(len(set(measure_blocks.candidates(row))) > 1 for row in rows)


def test_tiles_are_tried_at_the_most_channels_that_they_serve():
    for row in table_rows()['90']:
        assert measure_blocks.shape_of(row)[-1] == row.get('width', gpu.MOST_WIDTH)


def test_a_tile_that_does_not_run_is_replaced(monkeypatch):
    row = table_rows()['90'][1]
    right = torch.ones(3)

    def launch(block, *_):
        if block == Block(*row['block']):
            raise RuntimeError('out of resource: shared memory')
        return right + (block.warps == 8)

    monkeypatch.setattr(measure_blocks.launch, 'propagate', launch)
    monkeypatch.setattr(measure_blocks.plain, 'propagate', lambda *_: right)
    monkeypatch.setattr(measure_blocks, 'arguments_of', lambda _: ())
    monkeypatch.setattr(
        measure_blocks, 'microseconds', lambda call, rounds: call.args[0].rows
    )
    pool = type('Pool', (), dict(map=lambda *_: ()))()
    found = measure_blocks.measure_row(row, pool)
    assert found['block'] == [64, 32, 4, 2]  # of the right ones the fastest
    assert len(found['microseconds']) == 9


def test_tuning_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    rows, file, measured = table_rows()['90'], tmp_path / 'tiles.json', []

    def measure_row(row, pool):
        measured.append(row)
        return dict(row=row, block=[9, 9, 9, 9])

    monkeypatch.setattr(measure_blocks, 'measure_row', measure_row)
    tables = measure_blocks.tune(rows, file)
    next(tables)
    table = next(tables)
    assert [row['block'] == [9, 9, 9, 9] for row in table[:3]] == [True, True, False]
    tables.close()
    *_, table = measure_blocks.tune(rows, file)
    assert measured == rows
    assert table == [row | dict(block=[9, 9, 9, 9]) for row in rows]


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_tiles_need_a_gpu(capsys):
    with pytest.raises(SystemExit):
        measure_blocks.main(['--tune'])
    assert 'finds no GPU' in capsys.readouterr().err


def test_script_explains_itself():
    help_ = subprocess.run(['bash', SCRIPT, '--help'], capture_output=True, text=True)
    assert help_.returncode == 0 and '--smoke' in help_.stdout
    wrong = subprocess.run(['bash', SCRIPT, 'measure'], capture_output=True, text=True)
    assert wrong.returncode == 2 and 'pack WHEELS' in wrong.stderr


PYTHON = """#!/usr/bin/env bash
echo "$MMTLALIGN_SHARE_KERNEL $*" >>"$LOG"
case "$*" in
    *check_env*) exit "$USUAL" ;;
    *test_share_kernels*) echo "$TESTS passed in 20.1s"; [ "$TESTS" = 61 ] ;;
    *--tune*) echo new >"${@: -1}" ;;
    *steps-deit-base*) exit 1 ;;
esac
"""
TIMEOUT = """#!/usr/bin/env bash
echo "limit $5" >>"$LOG"
exec "${@:6}"
"""


def table_of(folder):
    """Return the file of the tiles beside the script."""
    return folder / TABLE.relative_to(ROOT)


def run_script(folder, *options, usual=0, tests='1 failed, 60'):
    """Run the script with a stand-in for Python; return what it ran, and the result."""
    script = folder / 'tools' / 'benchmarks' / SCRIPT.name
    if not script.exists():
        for file, text in dict(python=PYTHON, timeout=TIMEOUT).items():
            (folder / file).write_text(text)
            (folder / file).chmod(0o755)
        script.parent.mkdir(parents=True)
        shutil.copy(SCRIPT, script)
        table_of(folder).parent.mkdir(parents=True)
        table_of(folder).write_text('old')
    log = folder / 'log'
    log.write_text('')
    settings = dict(
        PATH=f'{folder}:{os.environ["PATH"]}',
        MMTLALIGN_PYTHON=str(folder / 'python'),
        LOG=str(log),
        USUAL=str(usual),
        TESTS=str(tests),
    )
    result = subprocess.run(
        ['bash', script, 'run', folder / 'results', *options],
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    return log.read_text().splitlines(), result


def test_failures_do_not_stop_the_other_stages(tmp_path):
    ran, result = run_script(tmp_path, '--minutes', '30')
    assert result.stderr == 'failed: steps-deit-base\n'
    assert sum('test_share_kernels' in line for line in ran) == 2
    assert any('--compile' in line for line in ran) and 'gpu_verdict' in ran[-1]
    assert not any('tuned.json' in line for line in ran)
    assert table_of(tmp_path).read_text() == 'old'
    # A fallback is an error, except where it is what is measured.
    others = [x for x in ran if 'benchmark.py' in x and not x.startswith('triton ')]
    assert len(others) == 1 and 'before.json' in others[0].split('/')[-1]
    # Tests that failed are not run again, a stage that failed is.
    ran, _ = run_script(tmp_path, '--minutes', '30')
    assert [line for line in ran if 'limit' not in line][0].endswith(
        'steps-deit-base.json'
    )
    assert len(ran) == 3


def test_tiles_with_which_the_kernels_are_right_are_adopted(tmp_path):
    ran, _ = run_script(tmp_path, '--minutes', '30', tests=61)
    assert any('tuned.json' in line for line in ran)
    table = table_of(tmp_path)
    assert table.read_text() == 'new\n'
    table.write_text('old')  # a fresh machine
    run_script(tmp_path, '--minutes', '30', tests=61)
    assert table.read_text() == 'new\n'


def test_nothing_is_measured_where_the_usual_case_is_wrong(tmp_path):
    ran, result = run_script(tmp_path, usual=1)
    assert 'gpu_verdict' in ran[-1] and not any('benchmark.py' in x for x in ran)
    assert result.returncode == 1


def test_all_stages_are_planned_within_25_minutes():
    plans = re.findall(r'(?:stage|on_gpu) (\S+) (\d+) ', SCRIPT.read_text())
    papers = len(GROUPS['papers'])
    times = [int(n) * (papers if '$model' in name else 1) for name, n in plans]
    assert len(times) > 10 and sum(times) <= 25 * 60


def test_a_stage_is_stopped_after_one_and_a_half_times_its_plan(tmp_path):
    ran, result = run_script(tmp_path, '--minutes', '3', 'tiles', 'lengths', 'compiled')
    limits = [int(line.split()[1]) for line in ran if line.startswith('limit')]
    for limit, most in zip(limits, (150, 210, 210), strict=True):
        assert most - 5 <= limit <= most
    ran, result = run_script(tmp_path, '--minutes', '1', 'types')
    assert 'left to the next call: types' in result.stdout and len(ran) == 1


@pytest.mark.slow
def test_commands_run_in_small_on_a_cpu(tmp_path):
    settings = dict(MMTLALIGN_PYTHON=sys.executable, CUDA_VISIBLE_DEVICES='')
    result = subprocess.run(
        ['bash', SCRIPT, 'run', tmp_path, '--smoke', '--minutes', '30'],
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    verdict = (tmp_path / 'verdict.md').read_text()
    assert 'types: deit-tiny, 197 tokens, fp32: time of tlalign' in verdict
    assert 'stopped' not in verdict
