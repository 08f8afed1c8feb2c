"""Converted weights give the logits of networks that timm wrote, both ways.

timm reads official files of Swin and XCiT with functions of its own
(``checkpoint_filter_fn``), so its reading of the official names is independent of
our tables.
"""

import re
from functools import partial

import pytest
import torch
from convert_nets import (
    SIZES,
    far_from_start,
    logits,
    ours_xcit,
    swin,
    timm_swin,
    timm_xcit,
    vit,
)
from small_backbones import randomise
from timm.models import swin_transformer, xcit
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mmtlalign.checkpoint.convert import convert


def as_it_is(weights, model):
    return dict(weights)


def official_swin(weights, model):
    """Merging at the end of a stage, a plain head, buffers that are saved."""
    named = {}
    for name, value in weights.items():
        name = re.sub(
            r'layers\.(\d)\.downsample',
            lambda m: f'layers.{int(m[1]) - 1}.downsample',
            name,
        )
        named[name.replace('head.fc.', 'head.')] = value
    for name, module in model.named_modules():
        if hasattr(module, 'relative_position_index'):
            index = module.relative_position_index
            named[f'{name}.relative_position_index'] = index
            named[name.replace('.attn', '.attn_mask')] = torch.zeros(1)
    return named


def official_xcit(weights, model):
    """One matrix for queries, keys and values of class attention."""
    named = {}
    for name, value in weights.items():
        name = name.replace('pos_embed.', 'pos_embeder.')
        parts = re.fullmatch(r'(cls_attn_blocks\.\d\.attn)\.([qkv])\.(.+)', name)
        if parts:
            if parts[2] == 'q':
                three = [weights[f'{parts[1]}.{p}.{parts[3]}'] for p in 'qkv']
                named[f'{parts[1]}.qkv.{parts[3]}'] = torch.cat(three)
        else:
            named[name] = value
    return named


distilled = partial(vit, 'DistilledVisionTransformer', 'DeiTClsHead')
pooled = partial(vit, out_type='avg_featmap', final_norm=False, pre_norm=True)
timm_pooled = partial(
    VisionTransformer, **SIZES, global_pool='avg', pre_norm=True, class_token=True
)
scaled = partial(vit, layer_cfgs=dict(layer_scale_init_value=1.0))
timm_scaled = partial(VisionTransformer, **SIZES, init_values=1.0)

NO_FILTER = (as_it_is, as_it_is)
SWIN_FILTER = (official_swin, swin_transformer.checkpoint_filter_fn)
# Family, theirs, ours, and what makes official names of timm's and back.
ROWS = dict(
    deit=('deit', partial(VisionTransformer, **SIZES), vit, *NO_FILTER),
    distilled=(
        'deit',
        partial(VisionTransformerDistilled, **SIZES),
        distilled,
        *NO_FILTER,
    ),
    timm_vit=('timm_vit', partial(VisionTransformer, **SIZES), vit, *NO_FILTER),
    timm_scaled=('timm_vit', timm_scaled, scaled, *NO_FILTER),
    timm_pooled=('timm_vit', timm_pooled, pooled, *NO_FILTER),
    swin=('swin', timm_swin, swin, *SWIN_FILTER),
    swin_three_stages=(
        'swin',
        partial(timm_swin, 3),
        partial(swin, 3),
        *SWIN_FILTER,
    ),
    timm_swin=('timm_swin', timm_swin, swin, *NO_FILTER),
    xcit=('xcit', timm_xcit, ours_xcit, official_xcit, xcit.checkpoint_filter_fn),
    xcit_patch8=(
        'xcit',
        partial(timm_xcit, 8),
        partial(ours_xcit, 8),
        official_xcit,
        xcit.checkpoint_filter_fn,
    ),
    timm_xcit=('timm_xcit', timm_xcit, ours_xcit, *NO_FILTER),
)


def precision(family):
    """XCiT's positions are float32 in both hosts, and so it is float32 as a whole."""
    return (torch.float32, 2e-5) if 'xcit' in family else (torch.float64, 1e-10)


@pytest.mark.parametrize('row', ROWS)
def test_logits_both_ways(row):
    family, theirs, ours, to_official, from_official = ROWS[row]
    dtype, tolerance = precision(family)
    near = partial(torch.testing.assert_close, rtol=0, atol=tolerance)
    theirs, ours = far_from_start(theirs(), dtype), far_from_start(ours(), dtype)
    size = 128 if 'swin' in family else 32
    images = torch.randn(2, 3, size, size, dtype=dtype)

    official = to_official(theirs.state_dict(), theirs)
    ours.load_state_dict(convert(official, family), strict=True)
    expected = logits(theirs, images)
    near(logits(ours, images), expected)

    far_from_start(ours, dtype)
    back = convert(ours.state_dict(), family, reverse=True)
    computed = ('relative_position_index', 'attn_mask')
    assert set(back) == {name for name in official if not name.endswith(computed)}
    theirs.load_state_dict(from_official(dict(back), theirs), strict=True)
    assert (logits(theirs, images) - expected).abs().max() > 0.01
    near(logits(ours, images), logits(theirs, images))


def test_deit3_of_mmpretrain_is_another_network():
    """Why DeiT III has no table: its second norms do nothing in mmpretrain."""
    model = far_from_start(vit('DeiT3'))
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    before = logits(model, images)
    for layer in model.backbone.layers:
        nn.init.normal_(layer.ln2.weight)
    assert logits(model, images).equal(before)


@pytest.mark.parametrize('row', ROWS)
def test_there_and_back_is_equal_to_the_bit(row):
    family, theirs, ours, to_official, _ = ROWS[row]
    theirs = far_from_start(theirs())
    official = to_official(theirs.state_dict(), theirs)
    converted = convert(official, family)
    back = convert(converted, family, reverse=True)
    assert len(converted) == len(ours().state_dict())
    for name, value in back.items():
        assert value.equal(official[name]) and value.dtype == official[name].dtype, name
    again = convert(back, family)
    assert list(again) == list(converted)
    assert all(again[name].equal(converted[name]) for name in again)


def test_official_swin_as_mmdet_reads_it():
    """Its own converter, for `convert_weights=True`."""
    convert_by_mmdet = pytest.importorskip('mmdet.models.backbones.swin').swin_converter
    theirs = randomise(timm_swin())
    official = official_swin(theirs.state_dict(), theirs)
    ours = convert(official, 'swin')
    for name, value in convert_by_mmdet(official).items():
        if not name.endswith('attn_mask'):
            # The official name of the last norm; mmdet leaves it aside.
            name = name.replace('backbone.norm.', 'backbone.norm3.')
            assert ours.pop(name).equal(value), name
    assert set(ours) == {'head.fc.weight', 'head.fc.bias'}
