"""The benchmark of EsViT: both sides compute the same, and ours grows with tokens."""

import json
import statistics
from argparse import Namespace

import pytest
import torch
from repository import tool

from mmtlalign.methods.esvit import loss
from tools.benchmarks import esvit_steps
from tools.benchmarks.peak_memory import peak_bytes

BENCHMARK = tool('benchmarks/benchmark_esvit')
TINY = (
    '--tokens 49 196 --batch 1 2 --channels 8 --prototypes 16 --repeats 3 '
    '--step-batch 1 --size 64 --local-size 32 --largest-batch 3'
)
SMALL = Namespace(channels=8, prototypes=16, device='cpu', amp=False)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """What one run of tiny sizes writes."""
    arch = dict(embed_dims=8, depths=[1, 1, 1, 2], num_heads=[1, 1, 1, 1])
    file = tmp_path_factory.mktemp('esvit') / 'times.json'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(esvit_steps, 'MINI', arch)
        BENCHMARK.main([*TINY.split(), '--json', str(file)])
    return json.loads(file.read_text())


def test_every_size_is_compared_round_by_round(run):
    rows = [*run['regions'], run['step']]
    sizes = {(r['part'], r['batch'], r.get('tokens')) for r in rows}
    assert sizes == {('step', 1, None)} | {
        (part, batch, tokens)
        for part in ('matching', 'region loss')
        for batch in (1, 2)
        for tokens in (49, 196)
    }
    for row in rows:
        ours, direct = row['seconds']['ours'], row['seconds']['direct']
        assert len(ours) == len(direct) == 3 and min(ours + direct) > 0
        pairs = [a / b for a, b in zip(direct, ours)]
        assert row['time_ratio']['median'] == pytest.approx(statistics.median(pairs))
        peaks = row['peak_bytes']
        assert row['peak_ratio'] == peaks['direct'] / peaks['ours']
        assert (row.get('growth') is None) == (row.get('tokens') != 196)


def test_region_loss_is_compared_batch_by_batch(run):
    assert [row['batch'] for row in run['batches']] == [1, 2]
    for row in run['batches']:
        without, both = (row['seconds'][name] for name in ('V', 'V+R'))
        assert len(without) == len(both) == 3 and min(without + both) > 0
        pairs = [a / b for a, b in zip(both, without)]
        assert row['time_ratio']['median'] == pytest.approx(statistics.median(pairs))
        peaks = row['peak_bytes']
        assert row['peak_ratio'] == peaks['V+R'] / peaks['V'] > 1
    first, second = (row['peak_bytes']['V'] for row in run['batches'])
    assert first < second < 2.2 * first


def test_batches_end_with_the_memory(monkeypatch, capsys):
    def peak(step, device):
        if not left.pop():
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.')
        return 1

    left = [False, True, True]
    monkeypatch.setattr(esvit_steps, 'peak_bytes', peak)
    monkeypatch.setattr(esvit_steps, 'build', lambda *given, **options: None)
    monkeypatch.setattr(esvit_steps, 'backward_of', lambda *given: lambda: None)
    options = Namespace(
        **dict(vars(SMALL), largest_batch=64, repeats=1, size=2, local_size=1)
    )
    assert [row['batch'] for row in BENCHMARK.compare_batches(options)] == [1]
    assert 'Out of memory before a batch of 2' in capsys.readouterr().out


def test_without_regions_the_loss_is_that_of_the_views():
    options = Namespace(**dict(vars(SMALL), arch='deit-tiny', size=32, local_size=16))
    model = BENCHMARK.build(options, regions=False)
    crops = BENCHMARK.draw_crops(1, options)
    assert model.region_head is None
    found = BENCHMARK.loss_of(model, crops)
    torch.testing.assert_close(found, model.loss(crops)['loss_view'])


def test_both_sides_compute_the_same(run):
    differences = [row['difference'] for row in run['regions'] if 'difference' in row]
    assert len(differences) == 4
    assert max(*differences, run['step']['difference']) < 1e-5
    # Gradients and matches too.
    case = BENCHMARK.Case(49, 2, SMALL)
    found = [
        torch.autograd.grad(loss(), case.logits)[0]
        for loss in (case.our_loss, case.direct_loss)
    ]
    torch.testing.assert_close(*found, rtol=0, atol=1e-7)
    theirs = case.direct_match()
    for number, match in enumerate(case.crops(case.our_match())):
        for teacher in range(BENCHMARK.GLOBAL):
            assert match[..., teacher].equal(theirs[teacher * 10 + number])


def test_our_peak_grows_linearly_and_the_matrix_does_not(monkeypatch):
    """Chunks as small beside these sizes as the real ones beside real sizes."""
    monkeypatch.setattr(loss, 'MATCH_CHUNK', 2**10)
    monkeypatch.setattr(loss, 'LOSS_CHUNK', 2**10)
    options = Namespace(**dict(vars(SMALL), channels=2))
    rows = []
    for tokens in (128, 256, 512):
        case = BENCHMARK.Case(tokens, 4, options)
        for part, (ours, theirs) in case.parts().items():
            for step in (ours, theirs):
                step()
            peaks = dict(ours=peak_bytes(ours), direct=peak_bytes(theirs))
            rows.append(dict(part=part, batch=4, tokens=tokens, peak_bytes=peaks))
    for row in rows:
        grows = BENCHMARK.growth(row, rows)
        if row['tokens'] == 128:
            assert grows is None
            continue
        assert 0.5 < grows['ours'] < 1.05
        assert grows['direct'] > (1.8 if row['part'] == 'matching' else 1.2)


def test_peak_is_what_a_call_holds_at_once():
    kept = torch.ones(250_000)

    def step():
        first = kept + 1
        second = first + 1
        del first
        return (second + 1).sum()

    step()
    # Two of three tensors of a megabyte, and a few scalars.
    assert 2_000_000 <= peak_bytes(step) < 2_001_000


def test_table_tells_ratio_and_growth(capsys):
    row = dict(
        part='matching',
        batch=8,
        seconds=dict(ours=[0.2], direct=[0.3]),
        peak_bytes=dict(ours=2**20, direct=2**22),
        time_ratio=dict(median=1.5, low=1.5, high=1.5),
        peak_ratio=4.0,
        growth=dict(ours=1.0, direct=2.0),
    )
    cells = BENCHMARK.line(row, '784')
    assert cells[3:5] == ['200.0 (200.0-200.0)', '300.0 (300.0-300.0)']
    assert cells[5:] == ['1.50 (1.50-1.50)', '1.0 (^1.00)', '4.0 (^2.00)', '4.00']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ('--repeats 0', '--repeats takes 1'),
        ('--tokens 49 0', '--tokens takes 1'),
        ('--step-batch -1', '--step-batch takes 0'),
        ('--largest-batch -1', '--largest-batch takes 0'),
        ('--size 96', '--local-size must be less'),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit):
        BENCHMARK.main(arguments.split())
    assert message in capsys.readouterr().err
