"""An exported backbone has the same features in every host, before and after."""

from functools import partial
from types import SimpleNamespace

import pytest
import timm
import torch
from convert_nets import classifier, ours_xcit, swin, vit
from exported_files import exported, features
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from pvt_nets import mmdet_pvt
from torch import nn

from mmtlalign.checkpoint.hook import PretrainedBackboneHook

close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
SWIN = dict(embed_dims=16, depths=[2, 1, 2, 1], num_heads=[1, 2, 4, 8], window_size=4)
OURS_SWIN = dict(
    type='mmpretrain.SwinTransformer',
    arch={k: v for k, v in SWIN.items() if k != 'window_size'},
    window_size=4,
    img_size=128,
)
OURS_VIT = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128),
    img_size=32,
    patch_size=8,
)


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmseg', 'mmdet'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('make, cfg', [(swin, OURS_SWIN), (vit, OURS_VIT)])
def test_init_cfg_of_every_host(make, cfg, suffix, scope, tmp_path):
    pytest.importorskip(scope)
    model = make()
    out = exported(model, tmp_path, suffix)
    init_default_scope(scope)
    init = dict(type='Pretrained', checkpoint=out, prefix='backbone.')
    backbone = MODELS.build(dict(cfg, init_cfg=init))
    backbone.init_weights()
    size = cfg['img_size']
    assert features(backbone, size).equal(features(model.backbone, size))


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('make, cfg', [(swin, OURS_SWIN), (vit, OURS_VIT)])
def test_pretrained_backbone_hook(make, cfg, suffix, tmp_path):
    model = make()
    out = exported(model, tmp_path, suffix)
    backbone = MODELS.build(cfg)
    runner = SimpleNamespace(
        iter=0,
        cfg=Config(dict(pretrained=out)),
        _load_from=None,
        logger=MMLogger.get_current_instance(),
        model=SimpleNamespace(backbone=backbone),
    )
    PretrainedBackboneHook().before_train(runner)
    size = cfg['img_size']
    assert features(backbone, size).equal(features(model.backbone, size))


@pytest.mark.parametrize('host', ['mmdet', 'mmseg'])
def test_swin_of_mmdet_and_mmseg(host, tmp_path):
    pytest.importorskip(host)
    model = swin()
    out = exported(model, tmp_path, layout=host)
    init_default_scope(host)
    size = dict(pretrain_img_size=128, out_indices=(3,))
    init = dict(type='Pretrained', checkpoint=out)
    cfg = dict(type=f'{host}.SwinTransformer', init_cfg=init, **SWIN, **size)
    theirs = MODELS.build(ConfigDict(cfg))
    theirs.init_weights()
    # The stock model does not shift where the map is one window, as pretraining did.
    for block in theirs.stages[3].blocks:
        block.attn.shift_size = 0
    close(features(theirs, 128), features(model.backbone, 128))


def test_vision_transformer_of_mmseg(tmp_path):
    pytest.importorskip('mmseg')
    model = vit()
    out = exported(model, tmp_path, layout='mmseg')
    init_default_scope('mmseg')
    theirs = MODELS.build(
        dict(
            type='mmseg.VisionTransformer',
            img_size=32,
            patch_size=8,
            patch_bias=True,
            embed_dims=32,
            num_layers=2,
            num_heads=2,
            final_norm=True,
            norm_cfg=dict(type='LN', eps=1e-6),
            init_cfg=dict(type='Pretrained', checkpoint=out),
        )
    )
    theirs.init_weights()
    model.backbone.out_type = 'featmap'
    close(features(theirs, 32), features(model.backbone, 32))


def test_pvt_of_mmdet(tmp_path):
    backbone = dict(type='mmtlalign.PVT', arch='tiny', img_size=64, out_type='featmap')
    model = classifier(dict(backbone, with_cls_token=False), width=512)
    out = exported(model, tmp_path, layout='mmdet')
    theirs = mmdet_pvt(
        num_layers=[2, 2, 2, 2],
        convert_weights=False,
        init_cfg=ConfigDict(type='Pretrained', checkpoint=out),
    )
    theirs.init_weights()
    # Their norms have each other's eps; with the same, only rounding is left.
    for module in [*model.modules(), *theirs.modules()]:
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    # Ours ends in a norm, which mmdet does not have.
    model.backbone.norm = nn.Identity()
    theirs_last, ours_last = features(theirs, 64), features(model.backbone, 64)
    assert theirs_last.std() > 0.1
    torch.testing.assert_close(theirs_last, ours_last, rtol=1e-3, atol=1e-3)


def timm_inside():
    backbone = dict(type='mmtlalign.TIMMBackbone', model_name='vit_tiny_patch16_224')
    return classifier(dict(backbone, **SMALL_VIT))


SMALL_VIT = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
distilled = partial(vit, 'DistilledVisionTransformer', 'DeiTClsHead')
TIMM = dict(
    vit=(vit, 'vit_tiny_patch16_224', SMALL_VIT, 32),
    distilled=(distilled, 'deit_tiny_distilled_patch16_224', SMALL_VIT, 32),
    swin=(
        swin,
        'swin_tiny_patch4_window7_224',
        dict(
            img_size=128,
            window_size=4,
            embed_dim=16,
            depths=SWIN['depths'],
            num_heads=SWIN['num_heads'],
        ),
        128,
    ),
    inside=(timm_inside, 'vit_tiny_patch16_224', SMALL_VIT, 32),
    xcit=(
        ours_xcit,
        'xcit_tiny_12_p16_224',
        dict(embed_dim=128, depth=2, tokens_norm=False),
        32,
    ),
)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('kind', TIMM)
def test_create_model_of_timm(kind, suffix, tmp_path):
    make, name, sizes, size = TIMM[kind]
    model = make()
    out = exported(model, tmp_path, suffix, layout='timm')
    theirs = timm.create_model(name, num_classes=0, checkpoint_path=out, **sizes)
    ours = features(model.backbone, size)
    if kind == 'swin':
        ours = ours.mean((2, 3))
    if kind == 'distilled':
        both = model.backbone(torch.zeros(1, 3, 32, 32))[-1]
        assert len(both) == 2
        theirs.eval()
        with torch.no_grad():
            tokens = theirs.forward_features(torch.zeros(1, 3, 32, 32))
        close(tokens[:, 0], both[0])
        close(tokens[:, 1], both[1])
    else:
        close(features(theirs, size), ours)
