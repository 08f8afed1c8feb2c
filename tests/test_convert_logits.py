"""Converted weights give the logits of networks that others wrote, both ways.

timm reads official files of Swin and XCiT with functions of its own
(``checkpoint_filter_fn``), so its reading of the official names is independent of
our tables. Golden files hold what the official codes computed.
"""

import re
from functools import partial

import numpy as np
import pytest
import torch
from golden_files import FILES, close
from mmengine.registry import MODELS, init_default_scope
from pvt_nets import LAYERS, WIDE
from pvt_reference import class_token
from small_backbones import randomise
from test_golden import Golden
from timm.models import swin_transformer, xcit
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mmtlalign.engine.weight_names import convert, unwrap

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128)
SIZES = dict(
    img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=3
)
WINDOWS = dict(img_size=128, window_size=4)
DEPTHS, HEADS = [2, 1, 2, 1], [1, 2, 4, 8]


def classifier(backbone, head='VisionTransformerClsHead', width=32):
    init_default_scope('mmpretrain')
    head = dict(type=head, num_classes=3, in_channels=width)
    model = dict(type='ImageClassifier', backbone=backbone, head=head)
    if backbone['type'] == 'SwinTransformer':
        model['neck'] = dict(type='GlobalAveragePooling')
    return MODELS.build(model)


def vit(kind='VisionTransformer', head='VisionTransformerClsHead', **options):
    backbone = dict(type=kind, arch=ARCH, img_size=32, patch_size=8, **options)
    return classifier(backbone, head)


def swin(stages=4):
    arch = dict(embed_dims=16, depths=DEPTHS[:stages], num_heads=HEADS[:stages])
    last = dict(type='SwinTransformer', arch=arch, out_indices=(stages - 1,))
    return classifier(dict(last, **WINDOWS), 'LinearClsHead', 8 * 2**stages)


def timm_swin(stages=4):
    sizes = dict(depths=DEPTHS[:stages], num_heads=HEADS[:stages], num_classes=3)
    return swin_transformer.SwinTransformer(embed_dim=16, **sizes, **WINDOWS)


def ours_xcit(patch=16):
    sizes = dict(embed_dims=128, depth=2, num_heads=4, mlp_ratio=4, cls_attn_layers=2)
    backbone = dict(type='XCiT', patch_size=patch, layer_scale_init_value=1.0, **sizes)
    return classifier(backbone, 'LinearClsHead', 128)


def timm_xcit(patch=16):
    return xcit.Xcit(**dict(SIZES, patch_size=patch, embed_dim=128, num_heads=4))


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


def far_from_start(model, dtype=torch.float64):
    """Weights, norms and running statistics all of their own."""
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=float(name.endswith('norm.weight')), std=0.2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.to(dtype).eval()


def precision(family):
    """XCiT's positions are float32 in both hosts, and so it is float32 as a whole."""
    return (torch.float32, 2e-5) if 'xcit' in family else (torch.float64, 1e-10)


@torch.no_grad()
def logits(model, images):
    if hasattr(model, 'extract_feat'):
        return model.head(model.extract_feat(images))
    return model(images)


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


@pytest.mark.parametrize(
    'family, method, name',
    [
        (family, method, name)
        for family, method in (('tlalign', 'TLAlign'), ('transmix', 'TransMix'))
        for name in sorted(FILES)
        if name.startswith(f'{family}_vit') and 'distilled' not in name
    ],
)
def test_numbers_of_official_tl_align_and_transmix(family, method, name):
    golden = Golden(FILES[name], method)
    official = {
        name[3:]: torch.from_numpy(array)
        for name, array in golden.arrays.items()
        if name.startswith('sd/')
    }
    randomise(golden.model).load_state_dict(convert(official, family), strict=True)
    close(
        logits(golden.model, torch.from_numpy(golden['mixed'])), golden['logits'], 1e-5
    )
    back = convert(golden.model.state_dict(), family, reverse=True)
    assert back.keys() == official.keys()
    assert all(back[key].equal(official[key]) for key in official)


ESVIT = sorted(name for name in FILES if name.startswith('esvit_swin'))


def esvit_backbone(arrays):
    """mmpretrain's Swin with the norms and shifts of the official one."""
    norm = dict(type='LN', eps=float(arrays['cfg/ln_eps']))
    depths = arrays['cfg/depths'].tolist()
    first = np.cumsum([0, *depths[:-1]])
    shifts, windows = arrays['cfg/shift_per_block'], arrays['cfg/window_per_block']
    stages = []
    for begin, depth in zip(first, depths):
        block = dict(norm_cfg=norm, ffn_ratio=float(arrays['cfg/mlp_ratio']))
        if not shifts[begin : begin + depth].any():
            block['shift'] = False
        stages.append(
            dict(
                window_size=int(windows[begin]),
                block_cfgs=block,
                downsample_cfg=dict(norm_cfg=norm),
            )
        )
    return MODELS.build(
        dict(
            type='mmpretrain.SwinTransformer',
            arch=dict(
                embed_dims=int(arrays['cfg/embed_dim']),
                depths=depths,
                num_heads=arrays['cfg/num_heads'].tolist(),
            ),
            img_size=int(arrays['cfg/img_size']),
            window_size=int(windows[0]),
            pad_small_map=True,
            norm_cfg=norm,
            patch_cfg=dict(norm_cfg=norm),
            stage_cfgs=stages,
        )
    )


@pytest.mark.parametrize('name', ESVIT)
def test_features_of_official_esvit(name):
    arrays = np.load(FILES[name], allow_pickle=False)
    official = {
        f'module.{key[2:]}': torch.from_numpy(arrays[key])
        for key in arrays
        if key.startswith('w/')
    }
    assert any('head_dense' in key for key in official)
    bare, taken = unwrap(official, 'esvit')
    assert taken == {'module.': len(official)}
    converted = convert(bare, 'esvit')
    backbone = esvit_backbone(arrays)
    backbone.load_state_dict(
        {key.replace('backbone.', '', 1): v for key, v in converted.items()}
    )
    backbone.double().eval()
    for crop in ('global0', 'local0'):
        view = 0 if crop == 'global0' else 2
        images = torch.from_numpy(arrays[f'in/crop{view}']).double()
        with torch.no_grad():
            pooled = backbone(images)[-1].mean((2, 3))
        close(pooled, arrays[f'{crop}/pooled'], 2e-5)
    back = convert(converted, 'esvit', reverse=True)
    assert all(back[key].equal(bare[key]) for key in back)
    assert set(bare) - set(back) == {key for key in bare if key.startswith('head')}


def test_logits_of_pvt():
    """Official names, read by functions written from the paper."""
    backbone = dict(type='mmtlalign.PVT', arch=WIDE, img_size=64)
    model = classifier(backbone, width=512)
    model = far_from_start(model)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    official = convert(model.state_dict(), 'pvt', reverse=True)
    token = class_token(official, images, LAYERS)
    expected = token @ official['head.weight'].T + official['head.bias']
    torch.testing.assert_close(logits(model, images), expected, rtol=0, atol=1e-10)
    back = convert(official, 'pvt')
    assert back.keys() == model.state_dict().keys()
    assert all(back[key].equal(value) for key, value in model.state_dict().items())
