"""The figures hold what they are given."""

import numpy as np
import pytest
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from repository import ROOT

from mmtlalign.validation.config import load_config
from tools.analysis_tools.dense_figures import (
    Instances,
    draw_detection,
    draw_segmentation,
    overlay,
)
from tools.analysis_tools.share_figure import ShareRow, draw_shares
from tools.analysis_tools.style import colour_of
from tools.experiments import draw_runs
from tools.experiments.run_pictures import draw_run_shares

RED = np.array([230, 25, 75])


def picture(value=0, size=16):
    return np.full((size, size, 3), value, np.uint8)


def pixels(path):
    return np.asarray(Image.open(path).convert('RGB')).astype(int)


def count(image, colour, slack=12):
    return int((np.abs(image - colour).max(axis=-1) <= slack).sum())


def share_row(level, maps=2):
    shares = [np.full((4, 4), level, np.float32)] * maps
    return ShareRow(picture(10), picture(200), picture(90), 0.25, shares, level)


def test_overlay_tints_the_mask_and_nothing_else():
    mask = np.zeros((16, 16), bool)
    mask[:4] = True
    before = picture(100)
    shown = overlay(before, mask, colour_of(0), strength=1.0)
    assert (shown[:4] == RED).all() and (shown[4:] == 100).all()
    assert (before == 100).all()


def test_shares_are_drawn_on_one_scale(tmp_path):
    path = tmp_path / 'shares.png'
    draw_shares([share_row(0.0), share_row(1.0)], ['first', 'second'], path)
    image = pixels(path)
    # Two rows of five panels at 150 dots an inch.
    assert image.shape[1] == pytest.approx(150 * (5 * 1.5 + 0.6), abs=2)
    # Both ends of the scale cover about a panel each, twice.
    black, white = count(image, [0, 0, 4]), count(image, [252, 253, 191])
    assert black > 50_000 and white > 50_000


def test_shares_need_a_name_for_each_map(tmp_path):
    with pytest.raises(ValueError, match='3 maps for 2'):
        draw_shares([share_row(0.5, maps=3)], ['a', 'b'], tmp_path / 'x.png')


@pytest.mark.parametrize(
    'method', ['token-label_lvvit', 'tlalign-token-label_lvvit', 'tlalign_deit']
)
def test_shares_of_a_run_are_drawn_whatever_its_head_reads(method, tmp_path):
    root = tmp_path / 'imagenette224'
    for number in range(10):
        folder = root / 'val' / f'n{number}'
        folder.mkdir(parents=True)
        Image.fromarray(picture(25 * number, 80)).save(folder / 'a.png')
    file = ROOT / f'configs/small/{method}-mini-p8_imagenette-64px.py'
    data = tmp_path if 'lvvit' in method else root
    cfg = load_config(str(file), dict(data_root=str(data)))
    init_default_scope('mmpretrain')
    cfg.model.data_preprocessor = cfg.data_preprocessor  # as a run writes it
    draw_run_shares(cfg, MODELS.build(cfg.model).eval(), tmp_path / 'shares.png')
    assert len(np.unique(pixels(tmp_path / 'shares.png'))) > 20


def test_segmentation_colours_classes_and_not_the_ground(tmp_path):
    truth = np.zeros((16, 16), int)
    truth[:, :8], truth[:, 8:12] = 1, 255
    nothing = np.zeros((16, 16), int)
    classes = ['ground', 'thing']
    for name, labels in (('with', truth), ('without', nothing)):
        path = tmp_path / f'{name}.png'
        draw_segmentation(
            [picture()], [labels], [nothing], classes, [None, colour_of(0)], path
        )
    tinted = np.round(0.9 * RED)
    full, empty = (
        count(pixels(tmp_path / f'{n}.png'), tinted) for n in ('with', 'without')
    )
    # Half of one panel of about 220 dots a side.
    assert 15_000 < full - empty < 30_000


def test_detection_draws_boxes_masks_and_scores(tmp_path):
    mask = np.zeros((1, 16, 16), bool)
    mask[:, 4:12, 4:12] = True
    box = np.array([[4.0, 4.0, 12.0, 12.0]])
    none = Instances(np.zeros((0, 4)), np.zeros((0, 16, 16), bool), np.zeros(0, int))
    one = Instances(box, mask, np.array([0]), np.array([0.9]))
    for name, found in (('with', one), ('without', none)):
        draw_detection(
            [picture()], [none], [found], ['thing'], tmp_path / f'{name}.png'
        )
    drawn, empty = (pixels(tmp_path / f'{name}.png') for name in ('with', 'without'))
    assert drawn.shape == empty.shape
    # The mask's inside is tinted, the box's edge is in the full colour.
    tinted = np.round(0.65 * RED)
    assert count(drawn, tinted) - count(empty, tinted) > 8_000
    assert count(drawn, RED, 3) - count(empty, RED, 3) > 500


@pytest.mark.parametrize(
    ('configs', 'message'),
    [
        ([], 'has 0 configs .*: name the work directory of one run'),
        (['a.py', 'b.py'], 'has 2 configs .*: name the work directory of one run'),
        (['a.py'], 'has no checkpoint .*: name the work directory of a finished run'),
    ],
)
def test_what_is_no_folder_of_a_run_has_no_figure(
    configs, message, tmp_path, monkeypatch
):
    for name in configs:
        (tmp_path / name).touch()
    out = tmp_path / 'figures'
    monkeypatch.setattr('sys.argv', ['draw_runs.py', str(out), str(tmp_path)])
    with pytest.raises(SystemExit, match=message):
        draw_runs.main()
