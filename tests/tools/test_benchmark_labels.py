"""The benchmark of token labels: one run, its tables, and ratios of its samples."""

import json
import statistics

import pytest
from repository import tool

from tools.benchmarks.label_map_io import MAP_TRANSFORMS

BENCHMARK = tool('benchmarks/benchmark_labels')
ARCH = dict(
    embed_dims=16,
    num_layers=2,
    num_heads=2,
    feedforward_channels=48,
    skip_lam=2,
    stem_channels=8,
)
TINY = '--maps 40 --workers 1 --images 2 --batch 2 --size 48 --repeats 3'.split()


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """What one run of tiny sizes writes."""
    folder = tmp_path_factory.mktemp('maps')
    file = folder / 'times.json'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BENCHMARK, 'BACKBONE', dict(type='mmtlalign.LVViT', arch=ARCH))
        BENCHMARK.main([*TINY, '--folder', str(folder), '--json', str(file)])
    assert list(folder.iterdir()) == [file]  # the maps are gone
    return json.loads(file.read_text())


def medians(found, over, under):
    assert len(over) == len(under) == 3
    pairs = [a / b for a, b in zip(over, under)]
    assert found['median'] == pytest.approx(statistics.median(pairs))
    assert found['low'] <= found['median'] <= found['high']


def test_reading_is_compared_round_by_round(run):
    assert set(run['reading']) == {
        '1 process, cold',
        '1 process, warm',
        '1 workers, cold',
        '1 workers, warm',
    }
    for row in run['reading'].values():
        assert min(row['store'] + row['official']) > 0
        medians(row['ratio'], row['store'], row['official'])
    # 5 x 18 x 18 logits and classes of two bytes each, and a checksum.
    assert run['bytes']['store'][0] >= 40 * (5 * 18 * 18 * 4 + 4)
    assert run['bytes']['official'][0] > 40 * 5 * 18 * 18 * 4


def test_shares_are_those_of_the_samples(run):
    base, work, workers = (
        run['seconds']['step, class labels'],
        run['seconds'],
        run['workers'],
    )
    for name, times in work.items():
        assert min(times) > 0
        medians(run['shares'][name], times, base)
    maps = [
        2
        * (
            workers['map from the store'][i]
            + workers['pool'][i]
            + sum(
                workers[f'{move}, map'][i] - workers[move][i] for move in MAP_TRANSFORMS
            )
        )
        for i in range(3)
    ]
    medians(run['shares']['maps in the workers'], maps, base)
    both = [a + b for a, b in zip(maps, work['labels, top k'])]
    medians(run['shares']['label handling in all'], both, base)


def test_dense_labels_take_the_memory_of_all_columns(run):
    peaks = run['peak_bytes']
    scores = 2 * 4 * 1000 * 4  # images, tokens, classes, bytes
    assert peaks['labels, class alone'] < peaks['labels, top k']
    assert peaks['labels, all columns'] > peaks['labels, top k'] > scores


def test_tables(capsys):
    speeds = dict(store=[4], official=[2], ratio=dict(median=2, low=2, high=2))
    sizes = dict(store=(6484, 6484), official=(8000, 8192))
    BENCHMARK.report_reading({'1 process, warm': speeds}, sizes, 1)
    printed = capsys.readouterr().out
    assert '| 1 process, warm | 4 (4-4) | 2 (2-2) | 2.00 (2.00-2.00) |' in printed
    assert 'store 8.3 GB; .pt files 10.2 GB, 10.5 GB on this disk' in printed


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ('--repeats 0', '--repeats takes 1'),
        ('--maps 31 --workers 1', '--maps takes 32'),
        ('--named 4', '--named takes 5 to 1000'),
        ('--size 100', 'a multiple of 16'),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit):
        BENCHMARK.main(arguments.split())
    assert message in capsys.readouterr().err
