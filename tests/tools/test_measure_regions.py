"""Correspondence and entropy over a folder of images: the mean of the single ones."""

import json

import cv2
import numpy as np
import pytest
import torch
from esvit_parts import model_settings
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from small_backbones import randomise
from tiny_run import run_tool

from tools.analysis_tools import networks

SIZE = 16


@pytest.fixture
def folder(tmp_path):
    for index in range(5):
        path = tmp_path / 'images' / str(index % 2) / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.randint(0, 255, (SIZE, SIZE, 3), np.uint8))
    return tmp_path / 'images'


@pytest.fixture
def measure(monkeypatch, tmp_path, capsys):
    """Run the tool on the checkpoint of a small EsViT; what it writes or says."""
    init_default_scope('mmpretrain')
    cfg = Config(dict(model=model_settings(), default_scope='mmpretrain'))
    net = randomise(MODELS.build(cfg.model))
    file, config = tmp_path / 'epoch_1.pth', tmp_path / 'config.py'
    torch.save(dict(state_dict=net.state_dict(), meta=dict(cfg=cfg.pretty_text)), file)
    cfg.dump(config)
    monkeypatch.chdir(tmp_path)

    def run(*args):
        args = [config if a == 'CONFIG' else file if a == 'FILE' else a for a in args]
        try:
            run_tool(
                monkeypatch,
                'analysis_tools/measure_regions',
                *args,
                '--json',
                'found.json',
            )
        except SystemExit as stop:
            return f'{stop.code} {capsys.readouterr().err}'
        found = json.loads((tmp_path / 'found.json').read_text())
        return found | dict(said=capsys.readouterr().out)

    return run


def test_mean_of_what_each_image_has(measure, folder):
    whole = measure('FILE', folder, '--no-jitter', '--batch', 2, '--pairs', 4)
    single = [
        measure('FILE', one, '--no-jitter', '--pairs', 4)
        for one in (folder / '0', folder / '1')
    ]
    assert [part['images'] for part in (whole, *single)] == [5, 3, 2]
    for name in ('accuracy', 'distance', 'entropy'):
        expected = (3 * single[0][name]['mean'] + 2 * single[1][name]['mean']) / 5
        assert whole[name]['mean'] == pytest.approx(expected, abs=1e-5)
    assert 0 < whole['entropy']['mean'] < whole['most_bits'] == 4
    assert 0 < whole['distance']['mean'] < 2 * SIZE
    assert (whole['pairs'], whole['regions']) == (4, 16)
    assert 'of the teacher' in whole['said']
    assert '5 images, 4 pairs of 16 regions' in whole['said']


def test_jitter_is_drawn_from_the_seed(measure, folder):
    plain = measure('FILE', folder, '--no-jitter')
    first, again, other = (
        measure('FILE', folder, '--seed', seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first['distance'] != other['distance'] != plain['distance']
    assert first['entropy'] == plain['entropy']  # of the images as they are


def test_part_of_the_images(measure, folder):
    assert measure('FILE', folder, '--limit', 2)['images'] == 2
    assert measure('FILE', folder, '--limit', 9)['images'] == 5


def test_part_of_the_images_is_of_all_folders(folder, monkeypatch):
    monkeypatch.setattr(networks, 'normalised', lambda pictures, _: pictures)
    files, _ = networks.read_images(str(folder), SIZE, None, 3)
    # 0/0, 0/2, 0/4, 1/1, 1/3
    assert [file[-7:] for file in files] == ['0/0.png', '0/2.png', '1/1.png']
    everything, _ = networks.read_images(str(folder), SIZE, None)
    assert len(everything) == 5


def test_random_weights_are_the_control(measure, folder):
    found = measure(folder, '--random', '--config', 'CONFIG', '--seed', 3)
    assert found['weights'] == 'random weights, seed 3'


def test_size_and_config_are_those_of_the_checkpoint(measure, folder, tmp_path):
    crop = [f'test_dataloader.{k}' for k in ('type=CenterCrop', 'crop_size=32')]
    assert measure('FILE', folder, '--cfg-options', *crop)['regions'] == 8**2
    other = tmp_path / 'other.py'
    other.write_text('model = dict()')
    found = measure('FILE', folder, '--config', other, '--cfg-options', *crop)
    assert 'of the teacher' in found['weights']


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['FILE', 'none'], "'none' is not a folder"),
        (['FILE', '.', '--pairs', 0], '--pairs: 0: must be 1 or more'),
        (['FILE', '.', '--limit', 0], '--limit: 0: must be 1 or more'),
        (['FILE', '.', '--random'], 'name a CHECKPOINT, or --random'),
        (['.'], 'name a CHECKPOINT, or --random'),
        (['none.pth', '.'], 'none.pth'),
    ],
)
def test_wrong_arguments(measure, arguments, message):
    assert message in measure(*arguments)
