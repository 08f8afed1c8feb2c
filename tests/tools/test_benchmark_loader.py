"""The benchmark of the loader: one small run, its tables, what it refuses."""

import json
import statistics

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from repository import ROOT, tool

BENCHMARK = tool('benchmarks/benchmark_loader')
CIFAR = ROOT / 'configs/_base_/datasets/cifar10_224px.py'
STEPS = 'LoadImage RandomResizedCrop RandomFlip RandAugment RandomErasing PackInputs'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('pictures')
    (folder / 'class').mkdir()
    for number in range(6):
        picture = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
        cv2.imwrite(str(folder / f'class/{number}.JPEG'), picture)
    return folder


@pytest.fixture(scope='module')
def run(folder):
    """What one run of tiny sizes writes."""
    file = folder / 'times.json'
    sizes = '--count 6 --batch 2 --repeats 3 --long-side 60'.split()
    BENCHMARK.main([str(folder), *sizes, '--json', str(file)])
    return json.loads(file.read_text())


def test_every_step_and_both_loaders_are_timed(run):
    steps = [f'{i + 1} {step}' for i, step in enumerate(STEPS.split())]
    assert list(run['seconds']) == [*steps, 'collate and send', 'whole']
    for row in run['seconds'].values():
        assert list(row) == [BENCHMARK.HOSTS, BENCHMARK.OURS]
        for times in row.values():
            assert len(times) == 3 and min(times) > 0
    assert run['images'].items() >= dict(count=6, width=60, height=45).items()
    # What the config asks of OpenCV reaches the workers.
    assert run['threads'] == [[1, 1]]


def test_whole_is_more_than_its_parts_alone(run):
    whole, load = (run['seconds'][p][BENCHMARK.OURS] for p in ('whole', '1 LoadImage'))
    assert statistics.median(whole) > statistics.median(load)


def test_hosts_steps():
    config = Config.fromfile(BENCHMARK.CONFIG)
    steps = config.train_dataloader.dataset.pipeline
    plain = BENCHMARK.with_host_steps([dict(step) for step in steps])
    assert [s['type'].removesuffix('FromFile') for s in plain] == STEPS.split()
    assert plain[1]['backend'] == 'pillow'
    assert steps[1].backend == 'torch'  # which is left as it was


def test_table(capsys):
    times = {BENCHMARK.HOSTS: [0.004, 0.004], BENCHMARK.OURS: [0.002, 0.002]}
    BENCHMARK.report(dict(whole=times))
    printed = capsys.readouterr().out
    assert (
        '| whole | 4.00 (4.00-4.00) | 2.00 (2.00-2.00) | 2.00 (2.00-2.00) |' in printed
    )
    assert "250 (250-250) with the hosts' steps, 500 (500-500) with this" in printed


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ('--repeats 0', '--repeats 0: takes 1 or more'),
        ('--long-side 0', '--long-side 0: takes 1 or more'),
        ('--quality 101', '--quality 101: takes 1 to 100'),
        ('--count 4 --batch 4', 'take more images, or smaller batches'),
        ('--count 7 --batch 2', 'has 6 .jpg, .jpeg, .png files, but --count is 7'),
        ('--count 6 --batch 2 --config no.py', '--config no.py does not exist'),
        (f'--count 6 --batch 2 --config {CIFAR}', 'begin with LoadImageFromFile'),
    ],
)
def test_wrong_arguments(arguments, message, folder, capsys):
    with pytest.raises(SystemExit):
        BENCHMARK.main([str(folder), *arguments.split()])
    assert message in ' '.join(capsys.readouterr().err.split())
