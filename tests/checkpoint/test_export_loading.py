"""What an export says of loading the file is true, in each host and for each task."""

import numpy as np
import pytest
import timm
import torch
from convert_nets import classifier, ours_xcit, swin, vit
from exported_files import checkpoint, features, settings_of
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from tiny_run import run_tool

from mmtlalign.checkpoint.export import export_backbone
from mmtlalign.checkpoint.loading_code import loading_code
from mmtlalign.errors import InputError

ARCHES = dict(
    SwinTransformer=dict(embed_dims=16, depths=[2, 1, 2, 1], num_heads=[1, 2, 4, 8]),
    VisionTransformer=dict(
        embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128
    ),
)
SIZES = dict(SwinTransformer=dict(img_size=128, window_size=4))
SIZES['VisionTransformer'] = dict(img_size=32, patch_size=8)


def backbone_of(kind, **more):
    return dict(type=kind, arch=ARCHES[kind], **SIZES[kind], **more)


def export(net, backbone, folder, layout, **changes):
    """Export from a checkpoint whose config says ``backbone``; return metadata."""
    settings = settings_of(net)
    settings['model'] = dict(settings['model'], backbone=backbone)
    settings.update(changes)
    meta = dict(cfg=Config(settings).pretty_text, epoch=0, iter=160000)
    source = checkpoint(net, folder / f'{layout}_source.pth', meta=meta)
    out = str(folder / f'{layout}.pth')
    return export_backbone(source, out, layout=layout), out


def load(meta, out, scope):
    """Do as the file says."""
    code = meta['load_with'].replace('FILE', out)
    loaded = eval(code, dict(timm=timm))
    if not isinstance(loaded, dict):
        return loaded.eval()
    init_default_scope(scope)
    backbone = MODELS.build(ConfigDict(loaded))
    backbone.init_weights()
    backbone.eval()
    return backbone


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmseg', 'mmdet'])
@pytest.mark.parametrize('kind', ARCHES)
def test_mmpretrains_class_in_every_host(kind, scope, tmp_path):
    model = (swin if kind == 'SwinTransformer' else vit)()
    meta, out = export(model, backbone_of(kind), tmp_path, 'mmpretrain')
    theirs, size = load(meta, out, scope), SIZES[kind]['img_size']
    assert features(theirs, size).equal(features(model.backbone, size))


@pytest.mark.parametrize('make', [swin, vit, ours_xcit])
def test_arguments_of_timm(make, tmp_path):
    model = make()
    kind = type(model.backbone).__name__
    if kind == 'XCiT':
        sizes = dict(embed_dims=128, depth=2, num_heads=4, patch_size=16)
        backbone, size = dict(type=kind, **sizes), 32
    else:
        backbone, size = backbone_of(kind), SIZES[kind]['img_size']
    meta, out = export(model, backbone, tmp_path, 'timm')
    ours = features(model.backbone, size)
    ours = ours.mean((2, 3)) if kind == 'SwinTransformer' else ours
    torch.testing.assert_close(
        features(load(meta, out, 'mmpretrain'), size), ours, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize('host', ['mmdet', 'mmseg'])
@pytest.mark.parametrize('padded', [True, False])
def test_swin_of_the_dense_hosts_shifts_small_maps(host, padded, tmp_path):
    """To the bit that of pad_small_map=True; with False the export says so."""
    backbone = backbone_of('SwinTransformer', pad_small_map=padded)
    # Of two blocks one is shifted.
    backbone['arch'] = dict(backbone['arch'], depths=[1, 1, 1, 2])
    model = classifier(dict(backbone, out_indices=(3,)), 'LinearClsHead', 128)
    meta, out = export(model, backbone, tmp_path, host)
    theirs = load(meta, out, host)
    # The smallest map of 128 pixels is one window, that of 512 has windows to shift.
    alike = {
        size: torch.allclose(
            features(theirs, size), features(model.backbone, size), rtol=0, atol=1e-4
        )
        for size in (128, 512)
    }
    assert alike == {128: padded, 512: True}
    assert bool(meta['notes']) is not padded
    assert padded or 'pad_small_map=True' in meta['notes'][0]


def test_vision_transformer_of_mmseg(tmp_path):
    model = vit()
    meta, out = export(model, backbone_of('VisionTransformer'), tmp_path, 'mmseg')
    theirs = load(meta, out, 'mmseg')
    model.backbone.out_type = 'featmap'
    torch.testing.assert_close(
        features(theirs, 32), features(model.backbone, 32), rtol=1e-4, atol=1e-4
    )


def test_published_names_are_resolved():
    code = loading_code(dict(type='SwinTransformer', arch='tiny'), 'timm', 'a.pth')
    assert 'embed_dim=96' in code and 'depths=[2, 2, 6, 2]' in code
    code = loading_code(dict(type='mmtlalign.PVT', arch='small'), 'mmdet', 'a.pth')
    assert 'embed_dims=64' in code and 'num_layers=[3, 4, 6, 3]' in code
    backbone = dict(type='mmtlalign.TIMMBackbone', model_name='vit_tiny_patch16_224')
    code = loading_code(dict(backbone, img_size=64), 'timm', 'a.pth')
    assert code == (
        "timm.create_model('vit_tiny_patch16_224', num_classes=0, img_size=64, "
        "checkpoint_path='a.pth')"
    ).replace('(', '(\n    ').replace(', ', ',\n    ')


# --------------------------------------------------------------- of a segmentation run


def segmentor():
    """A Swin as in UPerNet: a norm for each map."""
    dense = backbone_of('SwinTransformer', pad_small_map=True, out_indices=[0, 1, 2, 3])
    dense['arch'] = dict(dense['arch'], depths=[1, 1, 1, 2])
    model = classifier(dense, 'LinearClsHead', 128)
    changes = dict(
        model=dict(
            type='EncoderDecoder',
            backbone=dense,
            decode_head=dict(type='UPerHead', num_classes=11),
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=160000),
        data_preprocessor=dict(mean=[1.0] * 3, std=[2.0] * 3, bgr_to_rgb=True),
    )
    return model, dense, changes


def test_segmentor_goes_to_timm_without_the_norms_of_inner_maps(tmp_path):
    model, dense, changes = segmentor()
    meta, out = export(model, dense, tmp_path, 'timm', **changes)
    theirs = load(meta, out, 'mmseg')
    for size in (128, 512):
        theirs.set_input_size((size, size), window_size=(4, 4))
        ours = features(model.backbone, size).mean((2, 3))
        alike = torch.allclose(features(theirs, size), ours, rtol=0, atol=1e-4)
        assert alike is (size == 512)  # said: timm does not shift a map of one window
    assert 'does not shift' in meta['notes'][0]
    head = dict(model='EncoderDecoder', head='UPerHead', augments=[])
    assert meta['method'] == head and meta['num_classes'] == 11
    assert (meta['epoch'], meta['iteration']) == (None, 160000)


def test_command_line_says_iterations_and_no_none(tmp_path, monkeypatch, capsys):
    model, dense, changes = segmentor()
    settings = settings_of(model) | changes
    del settings['data_preprocessor']
    meta = dict(cfg=Config(settings).pretty_text, epoch=0, iter=160000)
    source = checkpoint(model, tmp_path / 'iter_160000.pth', meta=meta)
    tool = 'model_converters/export_backbone'
    run_tool(monkeypatch, tool, source, tmp_path / 'out.pth')
    printed = capsys.readouterr().out
    assert 'trained as EncoderDecoder, with UPerHead, iteration 160000' in printed
    assert 'None' not in printed.replace('=None', '') and 'epoch 0' not in printed
    assert f"checkpoint='{tmp_path}/out.pth'" in printed


def test_what_is_missing_is_said_before_what_is_there(tmp_path, monkeypatch):
    (tmp_path / 'out.pth').touch()
    files = tmp_path / 'no.pth', tmp_path / 'out.pth'
    for tool, more in (('export_backbone', ()), ('convert_weights', ('swin',))):
        with pytest.raises(SystemExit, match='no.pth.* does not exist'):
            run_tool(monkeypatch, f'model_converters/{tool}', *more, *files)


def test_tensors_without_a_place_are_said_with_the_options_of_the_tool(tmp_path):
    model = vit()
    model.backbone.extra = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(InputError, match='--format timm has no place') as raised:
        export(model, backbone_of('VisionTransformer'), tmp_path, 'timm')
    assert '--reverse' not in str(raised.value)
    assert np.all([word in str(raised.value) for word in ('extra', '--format mmpre')])
