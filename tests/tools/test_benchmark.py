"""The benchmark of mixing and tracing: one run, its tables, file and picture."""

import contextlib
import functools
import json
import resource
import statistics
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from benchmark_nets import DEIT, SWIN
from PIL import Image
from repository import ROOT, tool

from tools.benchmarks import timing
from tools.benchmarks.step import measuring, models
from tools.benchmarks.step.plot import draw
from tools.benchmarks.step.report import print_times, print_waits

BENCHMARK = tool('benchmarks/benchmark')
ARGUMENTS = (
    '--lengths 5 17 --dense-up-to 5 --measure train --batch 4 --repeats 3 --profile'
)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """What one run of small sizes writes and prints."""
    folder = tmp_path_factory.mktemp('benchmark')
    lines = []
    file, picture = folder / 'out.json', folder / 'out.png'
    command = ['deit', 'swin', *ARGUMENTS.split(), '--json', str(file)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BENCHMARK, 'MODELS', dict(deit=DEIT, swin=SWIN))
        patch.setattr('builtins.print', lambda *args, **_: lines.extend(args))
        # Reading a profile takes most of the time.
        once = functools.partial(measuring.profile_operations, rounds=1)
        patch.setattr(measuring, 'profile_operations', once)
        BENCHMARK.main([*command, '--plot', str(picture)])
    return json.loads(file.read_text()), lines, picture


def test_every_case_is_a_row(run):
    found, lines, _ = run
    cases = [(r['model'], r['tokens'], r['size'], r['batch']) for r in found['rows']]
    # As many tokens in all, an even number of images, two at least.
    assert cases == [('deit', 5, 32, 4), ('deit', 17, 64, 2), ('swin', None, 56, 4)]
    skipped = [line for line in lines if 'the dense form is left out' in line]
    assert len(skipped) == 1 and skipped[0].startswith('deit: at 17 tokens')
    begin = 'swin: measured not at 5, 17 tokens'
    (own,) = [line for line in lines if line.startswith(begin)]
    assert '56 pixels' in own
    for row in found['rows']:
        assert ('dense' in row['seconds']) == (row['tokens'] != 17)
        assert ('timm' in row['seconds']) == (row['model'] == 'deit')


def test_settings_are_multiplied():
    arguments = 'pvt-small --measure step train --precision fp32 bf16 --threads 1 2'
    cases, notes = BENCHMARK.list_cases(BENCHMARK.parse_args(arguments.split()))
    assert not notes and len(cases) == 8
    settings = {(c.measure, c.precision, c.threads) for c, _ in cases}
    assert len(settings) == 8
    names = {name for _, variants in cases for name in variants}
    assert names == {'mmpretrain', 'control', 'transmix', 'tlalign', 'dense'}


def test_a_sample_of_several_steps_is_their_mean(monkeypatch):
    calls, clock = [], iter(range(0, 1000, 6))
    monkeypatch.setattr(timing.time, 'perf_counter', lambda: next(clock))
    steps = dict(a=lambda: calls.append('a'), b=lambda: calls.append('b'))
    _, wall = timing.take_turns(steps, 2, before=calls.append, steps_per_sample=3)
    a, b = (lambda n: [n, 'a'] * 3), (lambda n: [n, 'b'] * 3)
    assert calls == [*a(0), *b(0), *b(1), *a(1), *a(2), *b(2)]
    assert wall == dict(a=[2.0, 2.0], b=[2.0, 2.0])


def test_waits_are_as_far_apart_as_asked(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: calls.append('wait'))
    timing.take_turns(
        dict(a=lambda: calls.append('a')), 1, device='cuda', steps_per_sample=2
    )
    assert calls == ['wait', 'a', 'a', 'wait'] * 2


def test_freed_memory_stays_in_the_process():
    """By default glibc takes these 64 MiB anew each time, by 16,384 faults."""
    if not timing.keep_memory():
        pytest.skip('the C library here has no such option')
    faults = []
    for _ in range(16):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert statistics.median(faults) < 1000


def test_ratios_are_to_the_faster_plain_one_round_by_round(run):
    for row in run[0]['rows']:
        times = row['seconds']
        plain = [v for v in ('mmpretrain', 'timm') if v in times]
        medians = {v: statistics.median(times[v]) for v in plain}
        assert row['reference'] == min(plain, key=medians.get)
        base = times[row['reference']]
        for variant, ours in times.items():
            assert len(ours) == len(row['wall'][variant]) == 3 and min(ours) > 0
            pairs = [a / b for a, b in zip(ours, base)]
            found = row['ratios'][variant]
            assert found['median'] == pytest.approx(statistics.median(pairs))
            assert found['low'] <= found['median'] <= found['high']
            peaks, reference = row['peak_bytes'], row['reference']
            assert row['peak_ratios'][variant] == peaks[variant] / peaks[reference]


def test_the_dense_form_holds_its_label_columns(run):
    row = run[0]['rows'][-1]
    columns = 4 * 14 * 14 * 1000 * 4  # images, tokens, classes, bytes
    peaks = row['peak_bytes']
    assert peaks['dense'] > peaks['control'] + columns


def test_tables(run):
    found, lines, _ = run
    rows = [line for line in lines if line.startswith(('| deit', '| swin'))]
    assert len(rows) == 2 * len(found['rows'])
    heads = [line for line in lines if '| model |' in line]
    assert ['Time' in heads[0], 'Peak memory' in heads[1]] == [True, True]
    assert {head.count('---|') for head in heads} == {10 + 6}
    assert {row.count('|') for row in rows} == {10 + 6 + 1}
    cells = [cell.strip() for cell in rows[0].strip('|').split('|')]
    assert cells[:7] == ['deit', '32', '5', '4', 'train', 'fp32', 'stock']
    assert cells[10 + list(found['rows'][0]['ratios']).index(cells[8])] == '1'


def test_operations_of_each_variant(run):
    found, lines, _ = run
    for row in found['rows']:
        assert row['operations'].keys() == row['seconds'].keys()
        for times in row['operations'].values():
            assert min(times.values()) >= 0 and times['aten::addmm'] > 0
    titles = [line for line in lines if 'ms of single operations' in line]
    assert len(titles) == len(found['rows'])
    assert 'model deit, pixels 32, tokens 5' in titles[0]
    # All lines of a table but the sum add up to the sum.
    start = next(i for i, line in enumerate(lines) if 'ms of single' in line)
    end = next(i for i, line in enumerate(lines) if line.startswith('| sum |'))
    table = [
        [float(cell.replace(',', '')) for cell in line.strip('| ').split(' | ')[1:]]
        for line in lines[start + 1 : end + 1]
    ]
    for *parts, total in zip(*table, strict=True):
        assert total == pytest.approx(sum(parts), abs=0.05 * len(parts) + 0.05)


def test_named_ranges_are_no_operations(monkeypatch):
    def step():
        with torch.profiler.record_function('range'):
            torch.ones(8, 8).mm(torch.ones(8, 8))

    def measured(device):
        steps = dict(step=step)
        return measuring.profile_operations(steps, lambda _: None, device, rounds=1)

    names = measured('cpu')['step'].keys()
    assert 'aten::mm' in names and 'range' not in names

    def event(key, scope, device):
        return SimpleNamespace(
            key=key, scope=scope, device_type=device, self_device_time_total=3.0
        )

    cpu, cuda = torch.autograd.DeviceType.CPU, torch.autograd.DeviceType.CUDA
    events = [event('range', 7, cpu), event('aten::mm', 0, cpu)]
    events += [event('range', 0, cuda), event('kernel', 0, cuda)]
    profiled = SimpleNamespace(key_averages=lambda: events)
    monkeypatch.setattr(
        measuring, 'profile', lambda activities: contextlib.nullcontext(profiled)
    )
    assert measured('cuda') == dict(step=dict(kernel=pytest.approx(3e-6)))


def test_time_of_a_gpu_has_two_names():
    calls = SimpleNamespace(self_cpu_time_total=5.0)
    assert measuring._own_time(calls, 'cpu') == 5
    # Zero is a time, too: that of what runs on the CPU alone.
    for name, time in (('device', 0.0), ('device', 3.0), ('cuda', 3.0)):
        event = SimpleNamespace(**{f'self_{name}_time_total': time})
        assert measuring._own_time(event, 'cuda') == time


def test_file_says_what_was_run_and_on_what(run):
    found = run[0]
    assert found['options']['repeats'] == 3
    assert found['options']['steps_per_sample'] == 1
    assert {'torch', 'timm'} <= set(found['versions'])
    assert found['machine']['processor'] and found['machine']['cores'] > 0


def test_picture(run):
    found, _, picture = run
    with Image.open(picture) as image:
        image.load()
        assert image.format == 'PNG' and min(image.size) > 200
    # One case alone has a picture too.
    draw(found['rows'][-1:], picture.with_name('one.png'), 'wall')
    assert picture.with_name('one.png').stat().st_size > 1000


def test_dashes_where_a_network_has_no_variant(capsys):
    ratio = dict(median=1.5, low=1.4, high=1.6)
    row = dict(
        **dict(model='vit', size=32, tokens=None, batch=2, measure='step'),
        **dict(precision='bf16', attention='auto', threads=2, reference='mmpretrain'),
        seconds=dict(mmpretrain=[0.2], tlalign=[0.3]),
        ratios=dict(mmpretrain=dict(median=1, low=1, high=1), tlalign=ratio),
    )
    print_times([row], ['mmpretrain', 'timm', 'tlalign'], 'work')
    assert capsys.readouterr().out.splitlines()[-1] == (
        '| vit | 32 | – | 2 | step | bf16 | auto | 2 | mmpretrain | 200.0 '
        '| 1 | – | 1.500 (1.400-1.600) |'
    )


def test_waits_name_the_place(monkeypatch, capsys):
    modes = []
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: None)
    monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', modes.append)

    def waiting():
        raise RuntimeError('called a synchronizing CUDA operation')

    def broken():
        raise RuntimeError('out of memory')

    steps = dict(timm=lambda: None, tlalign=waiting)
    found = dict(measuring.find_waits(steps, before=lambda round_: None))
    assert modes == ['error', 'default'] * 2
    assert found['timm'] is None
    assert 'test_benchmark.py' in found['tlalign'] and 'raise' in found['tlalign']
    with pytest.raises(RuntimeError, match='out of memory'):
        list(measuring.find_waits(dict(timm=broken), before=lambda round_: None))
    assert modes[-1] == 'default'
    setting = dict(model='vit', size=32, tokens=5, batch=2, measure='step')
    setting |= dict(precision='bf16', attention='auto', threads=2)
    print_waits([setting | dict(waits=found)])
    assert capsys.readouterr().out.count('| nothing |') == 1


def test_name_of_before_of_the_dense_form():
    with pytest.warns(FutureWarning, match='textbook is called dense now'):
        options = BENCHMARK.parse_args('--variants mmpretrain textbook'.split())
    assert options.variants == ['mmpretrain', 'dense']


def test_groups_name_models_that_exist():
    assert set(models.GROUPS['papers']) <= set(models.MODELS)
    options = BENCHMARK.parse_args(['papers', 'xcit-tiny-12'])
    assert options.models == [*models.GROUPS['papers'], 'xcit-tiny-12']
    assert BENCHMARK.parse_args([]).models == ['deit-small', 'swin-tiny']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ('nonsense', "unknown models ['nonsense']; choose from"),
        ('--repeats 0', '--repeats 0: takes 1 or more'),
        ('--steps-per-sample 0', '--steps-per-sample 0: takes 1 or more'),
        ('--threads 2 0', '--threads 0: takes 1 or more'),
        ('--lengths 197 200', '--lengths 200: give a square number'),
        ('--batch 3', "--batch 3: timm's CutMix needs an even number"),
        ('--variants timm tlalign', '--variants must include mmpretrain'),
        ('--precision fp16', 'use bf16 on a CPU'),
        ('--sync-check', 'add --device cuda'),
        ('--plot out.svg', 'ends with .png'),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit):
        BENCHMARK.main(arguments.split())
    assert message in capsys.readouterr().err


def test_missing_device_and_hosts(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(BENCHMARK, 'find_spec', lambda name: None)
    for arguments, message in (
        (['--device', 'cuda'], 'PyTorch finds no GPU'),
        (['pvt-small-mmdet'], 'pvt-small-mmdet needs mmdet: install it'),
        (['--plot', 'out.png'], '--plot needs matplotlib'),
    ):
        with pytest.raises(SystemExit):
            BENCHMARK.main(arguments)
        assert message in capsys.readouterr().err


BARE = """
import sys
for name in ('mmcv.ops', 'mmdet', 'mmseg', 'matplotlib'):
    sys.modules[name] = None
sys.path[:0] = ['tests/lib', '.']
from tools.benchmarks import benchmark

from benchmark_nets import DEIT, SWIN
benchmark.MODELS.update({'deit-tiny': DEIT, 'swin-tiny': SWIN})
benchmark.main('deit-tiny swin-tiny --batch 2 --repeats 1'.split())
"""


def test_runs_without_compiled_operators_and_other_hosts():
    done = subprocess.run(
        [sys.executable, '-c', BARE], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('| deit-tiny |') == done.stdout.count('| swin-tiny |') == 2


def test_cost_of_reading_attentions(capsys, tmp_path):
    file = tmp_path / 'out.json'
    words = '--networks vit timm-vit --repeats 2 --json'
    tool('benchmarks/measure_tracing').main([*words.split(), str(file)])
    vit, timm_vit = json.loads(file.read_text())['rows']
    assert vit['attentions'] == timm_vit['attentions'] == 2
    assert 'intercepted' not in vit['microseconds']
    assert timm_vit['intercepted_calls'] > 5
    operations = timm_vit['operations']
    assert operations['intercepted'] == operations['traced'] > operations['plain']
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split()[1] for line in lines] == ['vit', 'timm-vit']
