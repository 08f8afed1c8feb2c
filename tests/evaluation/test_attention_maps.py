"""Maps of attention: which there are, and what they equal."""

import pytest
import torch
from contract_rows import HOOKS, ROWS
from mmengine.registry import MODELS, init_default_scope
from oracles import dense_rollout
from small_backbones import randomise, swin

from mmtlalign.errors import InputError
from mmtlalign.evaluation.attention_maps import (
    attention_map,
    last_attention,
    read_attention,
)
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.tracing.attach import attach, detach
from mmtlalign.tracing.trace import start_share, trace


def built(name):
    init_default_scope('mmpretrain')
    row = ROWS[name]
    backbone = MODELS.build(dict(row.config))
    backbone.eval()
    return backbone, torch.randn(2, 3, *row.size)


@pytest.mark.parametrize('name', ['ViT', 'DHVT', 'PVT', 'XCiT', 'timm ViT, registers'])
def test_class_map_is_the_row_of_the_class_token(name):
    backbone, images = built(name)
    look = last_attention(backbone, images)
    maps = attention_map(backbone, images, 'cls')
    assert torch.equal(maps, look.maps()) and maps.shape[2:] == look.grid
    left = look.weights[:, :, 0].sum(-1) - maps.sum((-1, -2))  # special tokens' columns
    assert (left > 0).all() and (left < 1).all()
    assert torch.equal(maps, attention_map(backbone, images))


@pytest.mark.parametrize('name', ['ViT', 'Swin', 'Swin, any size', 'PVT', 'DHVT'])
def test_rollout_weighs_the_box_as_tl_align_does(name):
    backbone, images = built(name)
    rollout = attention_map(backbone, images, 'rollout')
    assert rollout.shape[1] == 1 and (rollout >= 0).all()
    mix = CutMix().mix(images, torch.eye(2))
    with trace(backbone, mix) as traced, torch.no_grad():
        backbone(mix.images)
    prefix = traced.prefixes[0] if name != 'PVT' else 0
    attach(backbone)
    start = start_share(backbone, mix)[..., 0]
    detach(backbone)
    rollout = attention_map(backbone, mix.images, 'rollout').flatten(1)
    on_special = (1 - rollout.sum(1)) * mix.area() if prefix else 0
    share = (rollout * start[:, prefix:]).sum(1) + on_special
    torch.testing.assert_close(share, traced.partner_shares()[0])


def test_rollout_is_attention_rollout():
    backbone, images = built('ViT')
    _, way = dense_rollout(backbone, images, HOOKS)
    rollout = attention_map(backbone, images, 'rollout')
    torch.testing.assert_close(rollout.flatten(1), way[:, 0, 1:].float())


def test_columns_of_padded_windows_ignore_the_padding():
    backbone, images = built('Swin, any size')
    layers = read_attention(backbone, images)
    padded = [
        layer
        for layer in layers
        if any(side % w for side, w in zip(*layer.windows[:2]))
    ]
    assert padded
    for layer in padded:
        maps = layer.column_map()
        assert maps.shape[2:] == layer.grid
        # Every query that is real gives all of its attention to real keys.
        total = maps.sum((-1, -2)) * layer.weights.shape[-1]
        real = torch.full_like(total, float(layer.grid[0] * layer.grid[1]))
        torch.testing.assert_close(total, real)


def test_columns_are_the_mean_of_all_queries():
    backbone, images = built('ViT, no class token')
    maps = attention_map(backbone, images)
    (layer,) = read_attention(backbone, images, [-1])
    means = torch.stack(
        [layer.query_map(r, c) for r in range(4) for c in range(6)]
    ).mean(0)
    torch.testing.assert_close(maps, means)
    torch.testing.assert_close(maps.sum((-1, -2)), torch.ones(2, 2))


def test_query_of_a_shifted_window():
    backbone = randomise(swin(img_size=64, window_size=4, pad_small_map=True))
    backbone.eval()
    look = last_attention(backbone, torch.randn(1, 3, 64, 64))
    maps = look.query_map(3, 4)  # in the window of rows and columns 2 to 5
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:6, 2:6] = True
    assert torch.equal(~maps[0, 0].isnan(), inside)
    window = look.weights[0].view(-1, 16, 16)[:, 1 * 4 + 2].view(-1, 4, 4)
    torch.testing.assert_close(maps[0][:, 2:6, 2:6], window)
    assert (look.query_map(0, 0).isnan().sum((-1, -2)) == 48).all()


def test_distillation_token_has_a_map_of_its_own():
    backbone, images = built('DeiT, distilled')
    randomise(backbone)
    look = last_attention(backbone, images)
    assert look.prefix == 2
    assert not torch.allclose(look.class_map(0), look.class_map(1))


def test_layers_are_chosen():
    backbone, images = built('PVT')
    every = read_attention(backbone, images)
    first, last = read_attention(backbone, images, [0, -1])
    assert torch.equal(first.weights, every[0].weights)
    assert torch.equal(last.weights, every[-1].weights)
    assert not hasattr(backbone, 'trace_context')


def test_what_there_is_not_is_refused():
    backbone, images = built('Swin')
    with pytest.raises(InputError, match="'received' or 'rollout'"):
        attention_map(backbone, images, 'cls')
    with pytest.raises(InputError, match='attentions 0 to'):
        attention_map(backbone, images, layer=99)
    with pytest.raises(InputError, match="choose 'auto', 'cls'"):
        attention_map(backbone, images, 'gradcam')
    with pytest.raises(InputError, match='numbered from 0'):
        last_attention(backbone, images).query_map(99, 0)
    backbone, images = built('PVT')
    with pytest.raises(InputError, match="pooled.*'rollout'"):
        attention_map(backbone, images, layer=0)
    backbone, images = built('XCiT')
    with pytest.raises(InputError, match="use the map 'cls'"):
        attention_map(backbone, images, 'received')
    backbone, images = built('ViT')
    with pytest.raises(
        InputError, match='1 special tokens, so there is no special token 1'
    ):
        last_attention(backbone, images).class_map(1)
