"""Every setting of a backbone is translated by an export, or refused by name."""

import functools
import re

import pytest
import timm
import torch
from convert_nets import classifier
from exported_files import checkpoint, settings_of
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope

from mmtlalign.checkpoint.export import export_backbone
from mmtlalign.errors import InputError

VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
    img_size=32,
    patch_size=8,
)
MAPS = dict(VIT, out_type='featmap')
XCIT = dict(type='XCiT', img_size=32, embed_dims=128, depth=2, num_heads=4)
SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=32, depths=[2, 2], num_heads=[1, 2]),
    img_size=64,
    window_size=4,
    out_indices=(1,),
)
# No map is one window, so that small maps do not matter.
PADDED = dict(SWIN, pad_small_map=True)
EPS = dict(norm_cfg=dict(type='LN', eps=1e-2))
RELU, QUICK = dict(type='ReLU'), dict(type='mmpretrain.QuickGELU')
ALL_EPS = dict(EPS, patch_cfg=EPS, stage_cfgs=dict(block_cfgs=EPS, downsample_cfg=EPS))
UNSHIFTED = dict(block_cfgs=dict(shift=False))


def blocks(**options):
    return dict(stage_cfgs=dict(block_cfgs=options))


def attention(**options):
    return blocks(attn_cfgs=options)


# A backbone, its changes, a format, and the setting that is refused.
CASES = [
    (VIT, dict(), 'timm', None),
    (VIT, EPS, 'timm', None),
    (VIT, dict(norm_cfg=dict(type='LN')), 'timm', None),
    (VIT, dict(layer_cfgs=EPS), 'timm', 'layer_cfgs.norm_cfg'),
    (VIT, dict(qkv_bias=False), 'timm', None),
    (VIT, dict(pre_norm=True), 'timm', None),
    (VIT, dict(layer_scale_init_value=0.5), 'timm', None),
    (VIT, dict(final_norm=False), 'timm', None),
    (VIT, dict(final_norm=False, out_type='avg_featmap'), 'timm', None),
    (VIT, dict(out_type='avg_featmap'), 'timm', 'out_type'),
    (MAPS, dict(with_cls_token=False), 'timm', None),
    (MAPS, dict(out_indices=(0, 1)), 'timm', None),
    (VIT, dict(out_indices=(0,)), 'timm', 'out_indices'),
    (VIT, dict(layer_cfgs=dict(act_cfg=RELU)), 'timm', None),
    (VIT, dict(layer_cfgs=dict(act_cfg=QUICK)), 'timm', None),
    (VIT, dict(layer_cfgs=[dict(act_cfg=RELU), {}]), 'timm', 'layer_cfgs.act_cfg'),
    (VIT, dict(layer_cfgs=dict(act_cfg=dict(type='Tanh'))), 'timm', 'act_cfg'),
    (VIT, dict(layer_cfgs=dict(num_fcs=3)), 'timm', 'layer_cfgs.num_fcs'),
    (VIT, dict(patch_cfg=dict(stride=4)), 'timm', 'patch_cfg.stride'),
    (VIT, dict(patch_cfg=dict(bias=False)), 'timm', 'patch_cfg.bias'),
    (VIT, dict(interpolate_mode='bilinear'), 'timm', 'interpolate_mode'),
    (VIT, dict(img_size=(32, 64)), 'timm', None),
    (VIT, dict(in_channels=1), 'timm', None),
    (VIT, dict(drop_rate=0.1, drop_path_rate=0.1, frozen_stages=1), 'timm', None),
    (dict(VIT, type='DistilledVisionTransformer'), EPS, 'timm', None),
    (XCIT, dict(), 'timm', None),
    (XCIT, dict(mlp_ratio=2.0, cls_attn_layers=1, tokens_norm=True), 'timm', None),
    (XCIT, dict(qkv_bias=False, use_pos_embed=False, **EPS), 'timm', None),
    (XCIT, dict(act_cfg=RELU), 'timm', None),
    (XCIT, dict(bn_norm_cfg=dict(type='BN', eps=0.1)), 'timm', 'bn_norm_cfg'),
    (SWIN, dict(), 'timm', None),
    (SWIN, ALL_EPS, 'timm', None),
    (SWIN, EPS, 'timm', 'norm_cfg'),
    (SWIN, attention(qkv_bias=False), 'timm', None),
    (SWIN, blocks(ffn_ratio=2.5), 'timm', None),
    (SWIN, attention(qk_scale=0.9), 'timm', 'attn_cfgs.qk_scale'),
    (SWIN, blocks(ffn_cfgs=dict(act_cfg=RELU)), 'timm', 'ffn_cfgs.act_cfg'),
    (SWIN, dict(patch_cfg=dict(norm_cfg=None)), 'timm', 'patch_cfg.norm_cfg'),
    (SWIN, dict(use_abs_pos_embed=True), 'timm', 'use_abs_pos_embed'),
    (SWIN, dict(out_after_downsample=True), 'timm', 'out_after_downsample'),
    (SWIN, dict(out_indices=(0,)), 'timm', 'out_indices'),
    (SWIN, dict(img_size=(64, 32)), 'timm', 'img_size'),
    (SWIN, blocks(shift=False), 'timm', 'block_cfgs.shift'),
    # As in EsViT with window 14: both maps are one window.
    (
        dict(PADDED, window_size=16),
        dict(stage_cfgs=[UNSHIFTED, dict(UNSHIFTED, window_size=8)]),
        'timm',
        None,
    ),
    (PADDED, dict(window_size=16), 'timm', 'window_size'),
    *((PADDED, {}, host, None) for host in ('mmdet', 'mmseg')),
    *((PADDED, ALL_EPS, host, None) for host in ('mmdet', 'mmseg')),
    (PADDED, dict(patch_size=2), 'mmdet', None),
    (PADDED, attention(qkv_bias=False, qk_scale=0.9), 'mmdet', None),
    (PADDED, blocks(ffn_cfgs=dict(act_cfg=RELU), ffn_ratio=2.0), 'mmseg', None),
    (PADDED, blocks(ffn_ratio=2.5), 'mmseg', None),
    (PADDED, blocks(ffn_ratio=2.5), 'mmdet', 'block_cfgs.ffn_ratio'),
    (PADDED, EPS, 'mmdet', 'norm_cfg'),
    (PADDED, dict(use_abs_pos_embed=True), 'mmseg', 'use_abs_pos_embed'),
    (PADDED, dict(patch_cfg=dict(norm_cfg=None)), 'mmdet', 'patch_cfg.norm_cfg'),
    (
        PADDED,
        dict(stage_cfgs=[{}, UNSHIFTED]),
        'mmdet',
        'stage_cfgs.block_cfgs.shift=[default, False]',
    ),
    (MAPS, {}, 'mmseg', None),
    (MAPS, EPS, 'mmseg', None),
    (MAPS, dict(layer_cfgs=dict(act_cfg=RELU), final_norm=False), 'mmseg', None),
    (MAPS, dict(out_indices=(0,)), 'mmseg', None),
    (MAPS, dict(qkv_bias=False), 'mmseg', 'qkv_bias'),
    (MAPS, dict(pre_norm=True), 'mmseg', 'pre_norm'),
    (MAPS, dict(layer_scale_init_value=0.5), 'mmseg', 'layer_scale_init_value'),
    (
        MAPS,
        dict(arch=dict(VIT['arch'], feedforward_channels=80)),
        'mmseg',
        "'feedforward_channels': 80",
    ),
]


@pytest.mark.parametrize('base, changes, layout, refused', CASES)
def test_settings_are_translated_or_refused(base, changes, layout, refused, tmp_path):
    backbone = base | changes
    model = classifier(dict(backbone), 'LinearClsHead', 128)
    settings = settings_of(model)
    settings['model'] = dict(settings['model'], backbone=backbone)
    meta = dict(cfg=Config(settings).pretty_text)
    source = checkpoint(model, tmp_path / 'epoch_1.pth', meta=meta)
    out = tmp_path / 'out.pth'
    if refused:
        with pytest.raises(InputError, match=re.escape(refused)) as raised:
            export_backbone(source, str(out), layout=layout)
        assert f'--format {layout} cannot express' in str(raised.value)
        assert '--format mmpretrain' in str(raised.value) and not out.exists()
        return

    code = export_backbone(source, str(out), layout=layout)['load_with']
    theirs = eval(
        code.replace('FILE', str(out)),
        dict(timm=timm, torch=torch, functools=functools),
    )
    if layout != 'timm':
        init_default_scope(layout)
        theirs = MODELS.build(ConfigDict(theirs))
        theirs.init_weights()
    theirs.eval()
    height, width = (
        (size, size)
        if isinstance(size := backbone['img_size'], int)
        else backbone['img_size']
    )
    channels = backbone.get('in_channels', 3)
    images = torch.randn(2, channels, height, width)
    with torch.no_grad():
        ours = model.backbone(images)[-1]
        if layout != 'timm':
            out = theirs(images)
            theirs = out[-1] if isinstance(out, list | tuple) else out
        elif isinstance(ours, tuple):
            ours, theirs = ours[0], theirs.forward_features(images)[:, 0]
        elif ours.ndim == 2:
            theirs = theirs(images)
        else:
            ours = ours.flatten(2).transpose(1, 2)
            theirs = theirs.forward_features(images)
            theirs = theirs.flatten(1, 2) if theirs.ndim == 4 else theirs
            theirs = theirs[:, -ours.shape[1] :]
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('maps', [False, True])
def test_timm_model_that_outputs_maps(maps, tmp_path):
    """Then small maps are shifted, and images of any size allowed."""
    name = 'swin_tiny_patch4_window7_224'
    backbone = dict(type='mmtlalign.TIMMBackbone', model_name=name, img_size=224)
    sizes = dict(embed_dim=16, depths=(1, 1, 1, 2), num_heads=(1, 1, 1, 1))
    backbone |= sizes | (dict(out_indices=(3,)) if maps else {})
    init_default_scope('mmpretrain')
    model = torch.nn.Module()
    model.backbone = MODELS.build(backbone)
    settings = dict(model=dict(type='ImageClassifier', backbone=backbone))
    meta = dict(cfg=Config(settings).pretty_text)
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    source = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=meta), source)
    out = str(tmp_path / 'out.pth')
    meta = export_backbone(str(source), out, layout='timm')
    theirs = eval(meta['load_with'].replace('FILE', out), dict(timm=timm)).eval()
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        ours = model.backbone.eval()(images)[0]
        ours = ours.mean((2, 3)) if maps else ours
        torch.testing.assert_close(theirs(images), ours, rtol=1e-4, atol=1e-4)
