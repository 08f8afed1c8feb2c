"""Pictures of regions that correspond and of attention, and what they are made of."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from esvit_parts import model_settings
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from repository import ROOT
from small_backbones import randomise, swin, vit
from test_figures import count, picture, pixels
from tiny_run import run_tool
from torch import nn

from mmtlalign.evaluation.attention_maps import last_attention
from mmtlalign.evaluation.regions import attention_entropy, query_masks
from tools.analysis_tools.region_figures import draw_attention, draw_pairs
from tools.analysis_tools.regions import (
    find_matches,
    find_pairs,
    pairs_of,
    second_view,
)

SIDE, CELL = 4, 8
SIZE = SIDE * CELL


def assert_same_place(pairs):
    """Both ends are at one height, as far from the left rim as from the right."""
    first, second = pairs.ends[:, 0], pairs.ends[:, 1]
    np.testing.assert_allclose(first[:, 1], second[:, 1])
    np.testing.assert_allclose(first[:, 0] + second[:, 0], SIZE)
    assert pairs.right.all()
    assert (pairs.accuracy, pairs.distance) == (1, 0)


def test_features_that_know_the_place_connect_it():
    places = torch.eye(SIDE**2)
    mirror = torch.tensor([r * SIDE + SIDE - 1 - c for r in range(4) for c in range(4)])
    pairs = pairs_of(places, places[mirror], SIZE, pairs=16)
    assert_same_place(pairs)
    assert {tuple(end) for end in pairs.ends[:, 0]} == {
        (CELL * x + 4, CELL * y + 4) for x in range(4) for y in range(4)
    }


def test_features_of_the_frame_connect_other_places():
    # They say where in the frame a region is, whatever it shows.
    pairs = pairs_of(torch.eye(16), torch.eye(16), SIZE, pairs=16)
    np.testing.assert_array_equal(pairs.ends[:, 0], pairs.ends[:, 1])
    assert not pairs.right.any() and pairs.accuracy == 0
    # Columns 0 to 3 belong into 3 to 0: 3, 1, 1 and 3 cells away.
    assert pairs.distance == pytest.approx(2 * CELL)


class Brightness(nn.Module):
    """A map of bumps: the feature of a cell is how bright it is, whatever its place."""

    def forward(self, images):
        grey = nn.functional.avg_pool2d(images, CELL).mean(dim=1, keepdim=True)
        levels = torch.linspace(0, 255, 64)[:, None, None]
        return (torch.exp(-(((grey - levels) / 4) ** 2)),)


def test_image_goes_all_the_way():
    # Every cell has a grey of its own, so only its mirror image is like it.
    cells = 15 * np.random.permutation(16).reshape(4, 4) + 10
    image = np.repeat(cells.repeat(CELL, 0).repeat(CELL, 1)[..., None], 3, 2)
    image = image.astype(np.uint8)
    other = second_view(image)
    assert other.shape == image.shape and other.dtype == np.uint8
    np.testing.assert_array_equal(other, image[:, ::-1])
    views = torch.from_numpy(np.stack([image, other])).permute(0, 3, 1, 2).float()
    (pairs,) = find_pairs(Brightness(), views[:1], views[1:], pairs=16)
    assert_same_place(pairs)


def test_second_view_is_grey():
    red = np.zeros((2, 2, 3), np.uint8)
    red[:, 0, 0] = 200
    np.testing.assert_array_equal(second_view(red)[0], [[0] * 3, [60] * 3])


@pytest.mark.parametrize('count', [0, 15])
def test_regions_are_a_square(count):
    with pytest.raises(ValueError, match='out_type=featmap'):
        pairs_of(torch.ones(count, 3), torch.ones(count, 3), SIZE, 10)


def test_lines_are_green_where_right(tmp_path):
    ends = np.array([[[4.0, 4.0], [28.0, 4.0]], [[4.0, 20.0], [28.0, 20.0]]])
    colours = [60, 180, 75], [230, 25, 75], [67, 99, 216]
    shown = {}
    for right in (0, 1, 2, None):
        path = tmp_path / f'{right}.png'
        good = None if right is None else np.arange(2) < right
        draw_pairs(picture(), picture(255, 16), ends, path, 'Title', good)
        shown[right] = [count(pixels(path), colour) for colour in colours]
    assert shown[0][0] == shown[2][1] == 0
    assert shown[1][0] > 1000 and shown[1][1] > 1000
    assert shown[2][0] == pytest.approx(2 * shown[1][0], rel=0.1)
    # Of two different images nobody knows.
    assert shown[None] == pytest.approx([0, 0, shown[2][0]], rel=0.1)


def test_masks_keep_the_mass():
    maps = torch.rand(5, 6, 7)
    kept = query_masks(maps, 0.6)
    for share, places in zip(maps, kept):
        inside, rest = share[places], share[~places]
        assert inside.sum() >= 0.6 * share.sum() > inside.sum() - inside.min()
        assert inside.min() >= rest.max()
    assert query_masks(maps, 1.0).all()


def test_attention_is_drawn(tmp_path):
    path = tmp_path / 'a.png'
    maps = np.zeros((9, 2, 2))
    maps[:, 0, 0] = 1
    draw_attention(picture(100), maps, [1.5] * 9, path)
    # Two rows; of each head one place of four is bright.
    assert count(pixels(path), [252, 253, 191]) == pytest.approx(9 * 110**2, rel=0.1)


def test_last_attention_of_a_vit():
    backbone = randomise(vit())
    backbone.eval()  # which returns nothing
    images = torch.randn(2, 3, 32, 32)
    seen = []
    attn = backbone.layers[-1].attn
    attn.qkv.register_forward_hook(lambda module, args, out: seen.append(out))
    look = last_attention(backbone, images)
    query, key, _ = seen[0].reshape(2, 17, 3, 2, 8).permute(2, 0, 3, 1, 4)
    weights = (query @ key.mT / 8**0.5).softmax(-1)
    torch.testing.assert_close(look.weights, weights)
    torch.testing.assert_close(look.maps(), weights[:, :, 0, 1:].reshape(2, 2, 4, 4))


def test_last_attention_in_shifted_windows():
    backbone = randomise(swin(img_size=64, window_size=4, pad_small_map=True))
    backbone.eval()
    # 8x8 tokens in four windows, shifted by two
    seen = []
    block = backbone.stages[-1].blocks[-1].attn
    block.w_msa.softmax.register_forward_hook(lambda m, args, out: seen.append(out))
    look = last_attention(backbone, torch.randn(1, 3, 64, 64))
    torch.testing.assert_close(look.weights, seen[0])
    received = torch.zeros(4, 64)
    places = torch.arange(64).view(8, 8).roll((-2, -2), (0, 1))
    for number, weights in enumerate(seen[0]):
        row, column = 4 * (number // 2), 4 * (number % 2)
        inside = places[row : row + 4, column : column + 4].flatten()
        received[:, inside] = weights.sum(dim=1) / 16
    torch.testing.assert_close(look.maps()[0], received.view(4, 8, 8))


@pytest.fixture
def draw(monkeypatch, tmp_path, capsys):
    """Run the tool on an image of 40 x 60 pixels; what it says."""
    image = tmp_path / 'image.png'
    cv2.imwrite(str(image), np.random.randint(0, 255, (40, 60, 3), np.uint8))

    def run(model, *args, told=True, source=image):
        init_default_scope('mmpretrain')
        cfg = Config(dict(model=model, default_scope='mmpretrain'))
        net = randomise(MODELS.build(cfg.model))
        file = tmp_path / 'epoch_1.pth'
        meta = dict(cfg=cfg.pretty_text) if told else {}
        torch.save(dict(state_dict=net.state_dict(), meta=meta), file)
        try:
            run_tool(
                monkeypatch, 'analysis_tools/draw_regions', file, source,
                '--out', tmp_path / 'out', *args,
            )  # fmt: skip
        except SystemExit as stop:
            return str(stop.code)
        return capsys.readouterr().out

    return run


def test_tool_draws_both_pictures(draw, tmp_path):
    said = draw(model_settings(), '--pairs', 5)
    assert 'of the teacher' in said and '5 pairs of 4x4 regions: accuracy' in said
    assert 'of at most 4.00 bits' in said
    for name in ('regions', 'attention'):
        assert pixels(tmp_path / 'out' / f'image_{name}.png').std() > 10


def test_tool_draws_the_attention_of_a_token(draw, tmp_path):
    said = draw(model_settings(), '--query', 1, 2, '--layer', 0)
    assert 'token (1, 2) of 8x8, attention entropy' in said
    image = pixels(tmp_path / 'out' / 'image_query_1_2.png')
    # Three quarters of the map are outside of the window, and hatched.
    grey = [217, 217, 217]
    panel = (1.5 * 150) ** 2
    assert 0.3 * panel < count(image, grey) < 0.75 * panel
    assert 'numbered from 0' in draw(model_settings(), '--query', 4, 0)


def test_tool_matches_two_images(draw, tmp_path):
    other = tmp_path / 'other.png'
    cv2.imwrite(str(other), np.random.randint(0, 255, (32, 32, 3), np.uint8))
    said = draw(model_settings(), other, '--pairs', 4)
    assert '4 pairs of 16 regions, cosines:' in said and 'accuracy' not in said
    assert pixels(tmp_path / 'out' / 'image_other_regions.png').std() > 10
    assert 'mutual pairs of 16 regions' in draw(model_settings(), other, '--mutual')
    assert 'does not exist' in draw(model_settings(), tmp_path / 'none.png')
    assert draw(model_settings(), '--mutual') == '2'  # --mutual is for two images


def test_pairs_of_two_images_connect_what_is_alike():
    # Regions 0 and 5 of the first look like 10 and 3 of the second, which has no other.
    features = torch.eye(16, 40)
    others = torch.eye(16, 40).roll(20, 1)
    others[10], others[3] = features[0], 2 * features[5] + 0.1

    class Fixed(nn.Module):
        def forward(self, images):
            maps = torch.stack([features, others])
            return (maps.mT.unflatten(2, (SIDE, SIDE)),)

    images = torch.zeros(2, 3, SIZE, SIZE)
    found = find_matches(Fixed(), images, pairs=2)
    assert found.similarities[0] == pytest.approx(1)
    np.testing.assert_array_equal(found.ends[0], [[4, 4], [20, 20]])
    np.testing.assert_array_equal(found.ends[1], [[12, 12], [28, 4]])
    assert len(find_matches(Fixed(), images, 16, mutual=True).ends) < 16


VIT = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
        img_size=32,
        patch_size=8,
    ),
    data_preprocessor=dict(mean=[127.0] * 3, std=[64.0] * 3, to_rgb=True),
)


def test_tool_on_a_classification(draw, tmp_path):
    assert 'out_type=featmap' in draw(VIT)
    said = draw(VIT, '--cfg-options', 'model.backbone.out_type=raw')
    assert '10 pairs of 4x4' in said and 'bits' in said
    assert 'does not exist' in draw(VIT, source=tmp_path / 'none.png')
    (tmp_path / 'text.png').write_text('no picture')
    assert 'not a complete image' in draw(VIT, source=tmp_path / 'text.png')
    assert 'contains no config' in draw(VIT, told=False)
    assert 'not teacher' in draw(VIT, '--weights', 'teacher')


def test_size_is_that_of_the_images_of_the_config(draw):
    crop = [f'test_dataloader.{k}' for k in ('type=CenterCrop', 'crop_size=64')]
    said = draw(VIT, '--cfg-options', 'model.backbone.out_type=raw', *crop)
    assert 'pairs of 8x8' in said


@pytest.mark.slow  # imports all hosts
@pytest.mark.parametrize('name', ['draw_regions', 'measure_regions'])
def test_tool_runs_from_a_checkout(name, tmp_path):
    tool = ROOT / 'tools' / 'analysis_tools' / f'{name}.py'
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    command = [sys.executable, tool, '--help']
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr[-500:]


def test_entropy_of_what_was_read():
    backbone = vit()
    backbone.eval()
    for layer in backbone.layers:  # all queries alike: all keys count the same
        nn.init.zeros_(layer.attn.qkv.weight)
    look = last_attention(backbone, torch.randn(1, 3, 32, 32))
    bits = attention_entropy(look.weights)
    torch.testing.assert_close(bits, torch.full((1, 2), np.log2(17)).float())
