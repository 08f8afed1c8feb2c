"""The protocol for a GPU, as far as a machine without one can run it."""

import json
import subprocess

import pytest
import torch
from repository import ROOT

from mmtlalign.tracing.kernels.blocks import TABLE
from tools.benchmarks import gpu_verdict, measure_blocks

SCRIPT = ROOT / 'tools' / 'benchmarks' / 'measure_on_gpu.sh'


def test_verdict_of_each_criterion(tmp_path, capsys):
    row = dict(
        model='deit-small',
        tokens=197,
        precision='bf16',
        ratios=dict(tlalign=dict(median=1.013), transmix=dict(median=1.03)),
        peak_ratios=dict(tlalign=1.0, transmix=1.0),
        waits=dict(tlalign=None, transmix='a.py:3: x.item()'),
    )
    tiny = row | dict(model='deit-tiny')
    steps = dict(shares='triton', rows=[row, tiny])
    (tmp_path / 'steps.json').write_text(json.dumps(steps))
    (tmp_path / 'correctness.txt').write_text('...\n61 passed in 20.1s\n')
    gpu_verdict.main([str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    found = {c[1].strip(): c[4].strip() for c in (x.split('|') for x in lines) if c[4:]}
    case = 'steps: deit-small, 197 tokens, bf16'
    assert found['kernels against float64, correctness'] == 'pass'
    assert found[f'{case}: time of tlalign'] == 'pass'
    assert found[f'{case}: time of transmix'] == 'MISS'
    assert found[f'{case}: transmix waits'] == 'MISS'
    assert found['steps: deit-tiny, 197 tokens, bf16: time of transmix'] == 'reported'
    assert found['compiled'] == 'not measured'


def test_table_of_tiles_is_as_it_would_be_written():
    text = TABLE.read_text(encoding='utf-8')
    table = json.loads(text)
    assert measure_blocks.format_table(table) == text
    for rows in table.values():
        parts = list(measure_blocks.split(rows))
        assert sum(measure_blocks.is_usual(row) and 'keys' in row for row in parts) == 1
        assert all(len(set(measure_blocks.candidates(row))) > 1 for row in parts)


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
