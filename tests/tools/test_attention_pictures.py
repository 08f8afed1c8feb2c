"""Pictures of head tokens, of entropies of several networks, and their numbers."""

import csv

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from small_backbones import randomise
from test_figures import count, pixels
from tiny_run import run_tool

from mmtlalign.evaluation.attention_maps import read_attention
from mmtlalign.evaluation.head_tokens import figures_by_layer, head_token_attention
from mmtlalign.evaluation.regions import attention_entropy
from tools.analysis_tools.draw_entropies import LINES
from tools.analysis_tools.draw_entropies import draw as draw_entropies
from tools.analysis_tools.draw_head_tokens import draw_maps, draw_matrices
from tools.analysis_tools.networks import read_images
from tools.analysis_tools.style import colour_of

LAYERS, HEADS, SIZE = 3, 2, 16
ARCH = dict(embed_dims=16, num_layers=LAYERS, num_heads=HEADS, feedforward_channels=32)
DHVT = dict(type='mmtlalign.DHVT', arch=ARCH, patch_size=4)
VIT = dict(type='VisionTransformer', arch=ARCH, patch_size=4, img_size=SIZE)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Three images in a folder; and configs and checkpoints of a backbone, by name."""
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmpretrain')
    (tmp_path / 'images').mkdir()
    for index in range(3):
        image = np.random.randint(0, 255, (SIZE, SIZE, 3), np.uint8)
        cv2.imwrite(f'images/{index}.png', image)

    def save(name, backbone):
        cfg = Config(
            dict(
                model=dict(
                    type='ImageClassifier',
                    backbone=backbone,
                    data_preprocessor=dict(mean=[127.0] * 3, std=[64.0] * 3),
                ),
                train_dataloader=dict(
                    pipeline=[dict(type='RandomCrop', crop_size=SIZE)]
                ),
                default_scope='mmpretrain',
            )
        )
        net = randomise(MODELS.build(cfg.model))
        meta = dict(cfg=cfg.pretty_text)
        torch.save(dict(state_dict=net.state_dict(), meta=meta), f'{name}.pth')
        cfg.dump(f'{name}.py')
        return net.eval()

    return save


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a tool; what it says."""

    def call(name, *arguments):
        try:
            run_tool(monkeypatch, f'analysis_tools/{name}', *arguments)
        except SystemExit as stop:
            return f'{stop.code} {capsys.readouterr().err}'
        return capsys.readouterr().out

    return call


def rows(path):
    with open(path, encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_head_tokens_are_drawn_and_measured(files, run):
    net = files('net', DHVT)
    said = run('draw_head_tokens', 'net.pth', 'images', '--out', 'out')
    assert f'3 images of {SIZE} px' in said
    for name in ('head_tokens', 'head_tokens_own', 'matrices', 'by_layer'):
        assert pixels(f'out/0_{name}.png').std() > 10
    _, images = read_images('images', SIZE, net.data_preprocessor)
    parts = [figures_by_layer(*head_token_attention(net, one)) for one in images]
    expected = torch.stack([torch.stack(part) for part in parts]).mean(dim=0)
    found = [
        [float(v) for v in list(row.values())[1:]] for row in rows('out/0_by_layer.csv')
    ]
    np.testing.assert_allclose(np.array(found).T, expected, atol=6e-5)
    assert f'{found[-1][0]:.4f}' in said


def test_head_tokens_of_random_weights(files, run):
    files('net', DHVT)
    arguments = ('images/1.png', '--random', '--config', 'net.py', '--out', 'out')
    assert 'random weights, seed 0, 1 images' in run('draw_head_tokens', *arguments)
    first = rows('out/1_by_layer.csv')
    run('draw_head_tokens', *arguments, '--seed', 1)
    assert rows('out/1_by_layer.csv') != first


def test_maps_and_matrices_hold_what_they_are_given(tmp_path):
    maps = np.zeros((LAYERS, HEADS, 4, 4))
    maps[:, 0, 0, 0] = maps[:, 1] = 1
    path = tmp_path / 'maps.png'
    draw_maps(maps, path, 'Title')
    # Of each layer one map is bright in a 16th, the other everywhere.
    cell, bright = (1.5 * 150) ** 2, [252, 253, 191]
    assert count(pixels(path), bright) == pytest.approx(3 * 17 / 16 * cell, rel=0.1)
    matrices = np.full((2, 20, 20), 1e-9)
    matrices[0, :, :10] = 0.1
    draw_matrices(matrices, HEADS, path)
    image = pixels(path)
    assert count(image, bright) == pytest.approx(0.5 * cell, rel=0.1)
    assert count(image, [0, 0, 4]) == pytest.approx(1.5 * cell, rel=0.1)


def test_entropies_are_sorted_and_one_line_a_network(files, run):
    net = files('vit', VIT)
    files('other', dict(VIT, arch=dict(ARCH, num_heads=4)))
    # Those with a config of their own keep it.
    said = run(
        *('draw_entropies', 'images', '--networks', 'V=vit.pth', 'V+R=other.pth'),
        *('--random', '--config', 'vit.py'),
    )
    for name in ('random', 'V', 'V+R'):
        assert f'{name}: bits by layer' in said
    assert pixels('entropies.png').std() > 10
    found = rows('entropies.csv')
    assert len(found) == LAYERS * (2 + 2 + 4)
    _, images = read_images('images', SIZE, net.data_preprocessor)
    layers = [read_attention(net, one) for one in images]
    for layer in range(LAYERS):
        bits = sum(attention_entropy(one[layer].weights)[0] for one in layers) / 3
        mine = [
            r for r in found if r['network'] == 'V' and r['layer'] == str(layer + 1)
        ]
        values = [float(row['bits']) for row in mine]
        assert values == sorted(values, reverse=True)
        np.testing.assert_allclose(values, sorted(bits.tolist())[::-1], atol=6e-5)
        assert float(mine[0]['most bits']) == pytest.approx(np.log2(17), abs=1e-4)


def test_entropies_of_random_weights_alone(files, run):
    files('vit', VIT)
    said = run('draw_entropies', 'images/0.png', '--random', '--config', 'vit.py')
    assert 'random: bits by layer' in said
    assert {row['network'] for row in rows('entropies.csv')} == {'random'}


def test_lines_are_where_the_values_are(tmp_path):
    path = tmp_path / 'bits.png'
    draw_entropies(dict(low=[[1.0] * 9], high=[[3.0] * 9]), [4.0], path)
    image = pixels(path)
    heights = []
    for number in range(2):
        colour = colour_of(LINES[number])
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        near = np.abs(image - wanted).max(axis=-1) < 30
        # The longest row of pixels, which the legend has not.
        heights.append(int(near.sum(axis=1).argmax()))
    assert heights[0] > heights[1]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['draw_head_tokens', 'images'], 'name a CHECKPOINT, or --random'),
        (['draw_head_tokens', 'a.pth', 'images', '--limit', '0'], 'must be 1 or more'),
        (['draw_head_tokens', 'images', '--random'], 'name a CHECKPOINT, or --random'),
        (['draw_head_tokens', 'none.pth', 'images'], 'none.pth'),
        (['draw_head_tokens', 'net.pth', 'none'], 'none'),
        (['draw_head_tokens', 'vit.pth', 'images'], 'has no head tokens'),
        (['draw_entropies', 'images'], 'name --networks'),
        (['draw_entropies', 'images', '--random'], 'needs --config'),
        (['draw_entropies', 'images', '--networks', 'vit.pth'], 'NAME=CHECKPOINT'),
        (
            ['draw_entropies', 'images', '--networks', 'a=vit.pth', '--out', 'a.jpg'],
            'ends with .png',
        ),
        (
            ['draw_entropies', 'images', '--networks', 'a=vit.pth', 'b=short.pth'],
            'b has 2 layers and a 3',
        ),
    ],
)
def test_wrong_input(files, run, arguments, message):
    files('net', DHVT)
    files('vit', VIT)
    files('short', dict(VIT, arch=dict(ARCH, num_layers=2)))
    assert message in run(*arguments)
