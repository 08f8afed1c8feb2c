"""Weights of PVT: official names, mmdet's, checkpoints, other variants."""

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from pvt_nets import ARCH, dense, mmdet_pvt, official, small, wide
from small_backbones import assert_same, randomise, save
from torch import nn

from mmtlalign.backbones.pvt import PVT
from mmtlalign.checkpoint.convert import convert
from mmtlalign.checkpoint.key_maps.pvt import from_mmdet, to_mmdet
from mmtlalign.checkpoint.load import load_backbone


def test_official_names_there_and_back():
    net = wide()
    names = official(net)
    assert 'block4.1.attn.kv.weight' in names and 'pos_embed1' in names
    back = convert(names, 'pvt')
    assert set(back) == {f'backbone.{k}' for k in net.state_dict()}
    with pytest.raises(
        ValueError, match='tools/model_converters/convert_weights.py pvt'
    ):
        net.load_state_dict(names)


@pytest.mark.parametrize('size', [(64, 64), (71, 101)])
def test_weights_fill_the_backbone_of_mmdet(size):
    ours = wide(out_type='featmap', with_cls_token=False, out_indices=(0, 1, 2, 3))
    theirs = mmdet_pvt()
    theirs.load_state_dict(to_mmdet(ours.state_dict()))
    images = torch.randn(1, 3, *size)
    for a, b in zip(ours(images), theirs(images)):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-3)
    # Their norms have each other's eps; with the same, only rounding is left.
    for module in [*ours.modules(), *theirs.modules()]:
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    for a, b in zip(ours(images), theirs(images)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_weights_there_and_back_from_mmdet():
    ours = small(out_type='featmap', with_cls_token=False)
    weights = ours.state_dict()
    back = from_mmdet(to_mmdet(weights))
    assert set(back) == set(weights)
    assert all(back[name].equal(weights[name]) for name in weights)
    with_token = small()
    left = to_mmdet(with_token.state_dict())
    assert left['layers.2.1.0.pos_embed'].shape[1] == 4
    assert len(left) == len(to_mmdet(weights))
    with pytest.raises(ValueError, match='pvt.from_mmdet'):
        ours.load_state_dict(left)
    for wrong in (from_mmdet, to_mmdet):
        with pytest.raises(
            ValueError, match='head.weight is not a parameter of PVT v1'
        ):
            wrong(dict(weights if wrong is to_mmdet else left, **{'head.weight': 0}))


@pytest.mark.parametrize('way', ['official', 'mmdet'])
def test_pretrains_the_detectors_of_mmdet(way, tmp_path):
    """The recipe of mmdet reads what is converted: every weight arrives."""
    from mmengine.config import Config

    ours = PVT('tiny')
    path = str(tmp_path / 'pvt.pth')
    tensors = official(ours) if way == 'official' else to_mmdet(ours.state_dict())
    torch.save(dict(model=tensors), path)
    mmdet = pytest.importorskip('mmdet')
    folder = f'{mmdet.__path__[0]}/.mim/configs/pvt'
    cfg = Config.fromfile(f'{folder}/retinanet_pvt-t_fpn_1x_coco.py').model.backbone
    cfg.init_cfg.checkpoint = path
    cfg.convert_weights = way == 'official'
    init_default_scope('mmdet')
    theirs = MODELS.build(cfg)
    theirs.init_weights()
    expected = to_mmdet(ours.state_dict())
    assert set(expected) == set(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        assert tensor.equal(expected[name]), name


@pytest.mark.parametrize('with_cls_token', [True, False])
def test_checkpoint_of_a_classifier_fills_the_dense_form(
    with_cls_token, tmp_path, monkeypatch
):
    logged = []
    monkeypatch.setattr(MMLogger, 'info', lambda logger, line: logged.append(line))
    source = randomise(small())
    target = dense(with_cls_token=with_cls_token)
    path = save(source, tmp_path / 'a.pth')
    lines = load_backbone(target, path)
    tensors = len(target.state_dict())
    assert f'{tensors} of {tensors} tensors' in lines[0]
    assert len(lines) == 1
    if with_cls_token:
        assert not logged
        return assert_same(target, source)
    names = 'stages.2.positions.cls_token, norm.weight, norm.bias'
    assert names in logged[0] and len(logged) == 1
    for name, tensor in target.state_dict().items():
        expected = source.state_dict()[name]
        if name == 'stages.2.positions.pos_embed':
            expected = expected[:, 1:]
        assert tensor.equal(expected), name


@pytest.mark.parametrize(
    'other, differs',
    [
        (dict(arch=dict(ARCH, num_layers=(1, 2, 2))), r'layers \[1, 2, 2\]'),
        (dict(arch=dict(ARCH, embed_dims=(16, 32, 64))), r'widths \[16, 32, 64\]'),
        (dict(img_size=64), r'positions \[256, 64, 17\]'),
        (dict(with_cls_token=False, out_type='featmap'), r'positions \[64, 16, 4\]'),
    ],
)
def test_weights_of_another_variant_are_named(other, differs):
    own = r'this one has layers \[1, 1, 2\], widths \[16, 32, 32\]'
    with pytest.raises(ValueError, match=f'{differs}.*{own}'):
        small().load_state_dict(small(**other).state_dict())


def test_parts_and_equals_are_loaded():
    weights = small().state_dict()
    small().load_state_dict(weights)
    part = {k: v for k, v in weights.items() if k.startswith('stages.0.patch_embed')}
    small().load_state_dict(part, strict=False)
