"""Every backbone of mmpretrain is traceable, or refused with its own reason."""

import inspect

import pytest
from contract_rows import EVERY
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.models.backbones.base_backbone import BaseBackbone
from mmpretrain.registry import MODELS as MMPRETRAIN
from torch import nn

from mmtlalign.tracing.support import (
    KNOWN,
    BackboneSpec,
    backbone_spec,
    register_backbone,
    supported_backbones,
)
from mmtlalign.tracing.unsupported import UNSUPPORTED


def _is_backbone(cls):
    return inspect.isclass(cls) and (
        issubclass(cls, BaseBackbone) or '.models.backbones.' in cls.__module__
    )


BACKBONES = {
    cls.__name__: cls
    for cls in map(MMPRETRAIN.get, sorted(MMPRETRAIN.module_dict))
    if _is_backbone(cls)
}


def bare(cls):
    """A backbone of this class without a single layer."""
    backbone = cls.__new__(cls)
    nn.Module.__init__(backbone)
    return backbone


def refusal(cls):
    with pytest.raises(TypeError) as error:
        backbone_spec(bare(cls))
    return str(error.value)


def test_the_walk_meets_what_it_should():
    assert {'LeViT', 'MAEViT', 'PCPVT', 'ResNet', 'TIMMBackbone'} <= BACKBONES.keys()
    assert len(BACKBONES) > 60


@pytest.mark.parametrize('name', BACKBONES)
def test_traceable_or_refused_with_a_reason(name):
    supported_backbones()
    cls = BACKBONES[name]
    try:
        backbone_spec(bare(cls))
    except TypeError as error:
        said = str(error)
        assert said.startswith(f'{name} cannot be traced: it')
        assert 'nothing is registered' not in said
        assert 'stock head' in said
    else:
        rows = {row.config['type'] for row in EVERY.values()}
        assert name in rows, f'{name} is traceable, and no row of the contract shows it'


@pytest.mark.parametrize('name', sorted(UNSUPPORTED))
def test_reasons_are_sentences(name):
    assert UNSUPPORTED[name].endswith('.')
    assert 40 < len(UNSUPPORTED[name]) < 200


@pytest.mark.parametrize(
    'name, reason',
    [
        ('LeViT', 'fewer queries than tokens and has no residual'),
        ('MViT', 'pools queries'),
        ('ResNet', 'no attention'),
        ('SEResNeXt', 'no attention'),
        ('RepMLPNet', 'learnt weights'),
        ('MAEViT', 'build VisionTransformer and load'),
        ('MILANViT', 'build VisionTransformer and load'),
        ('BEiTPretrainViT', 'build BEiTViT and load'),
        ('SimMIMSwinTransformer', 'build SwinTransformer and load'),
    ],
)
def test_reasons_are_their_own(name, reason):
    assert reason in refusal(BACKBONES[name])


def test_nearest_of_family_and_refusal_counts(monkeypatch):
    monkeypatch.setattr(KNOWN, 'backbones', dict(KNOWN.backbones))

    class MyLeViT(BACKBONES['LeViT']):
        pass

    assert 'MyLeViT cannot be traced: its attention' in refusal(MyLeViT)
    family = BackboneSpec(lambda b: (16, 16), lambda b: 0, lambda b: 'mean')
    register_backbone(MyLeViT, family)
    assert backbone_spec(bare(MyLeViT)) is family
    assert 'LeViT cannot be traced' in refusal(BACKBONES['LeViT'])


@pytest.mark.parametrize('method', ['TLAlign', 'TransMix'])
def test_refused_when_the_model_is_built(method):
    init_default_scope('mmpretrain')
    model = dict(
        type='mmtlalign.MixClassifier',
        backbone=dict(type='LeViT', arch='128s'),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type=f'mmtlalign.{method}LinearClsHead', num_classes=3, in_channels=384
        ),
        train_cfg=dict(augments=dict(type='mmtlalign.CutMix')),
    )
    with pytest.raises(TypeError, match='LeViT cannot be traced: .* no residual'):
        MODELS.build(model)
