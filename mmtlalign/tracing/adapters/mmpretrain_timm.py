"""mmpretrain's ``TIMMBackbone``, which removes the pooling of a timm model.

The output share is read where the timm model would pool. A neck has to pool there:
``mmtlalign.TokenPooling``, or mmpretrain's ``GlobalAveragePooling`` for the maps of PVT
v2. ``mmtlalign.TIMMBackbone`` pools by itself.
"""

from collections.abc import Callable

from mmpretrain.models.backbones import TIMMBackbone
from torch import nn

from mmtlalign.errors import InputError
from mmtlalign.tracing.support import BackboneSpec, backbone_spec, register_backbone
from mmtlalign.tracing.trace import token_grid


def wrapper_spec(output: Callable[[nn.Module], str]) -> BackboneSpec:
    """Return the spec of a backbone with a timm model as ``timm_model``.

    Args:
        output: Returns ``'class'`` or ``'mean'`` for a backbone, as in
            :class:`BackboneSpec`.
    """
    return BackboneSpec(
        patch=lambda backbone: _inner(backbone).patch(backbone.timm_model),
        prefix=lambda backbone: _inner(backbone).prefix(backbone.timm_model),
        output=output,
        num_outputs=_num_outputs,
        grid=lambda backbone, size: token_grid(backbone.timm_model, size),
        has_learnt_weights=lambda backbone: _inner(backbone).has_learnt_weights(
            backbone.timm_model
        ),
        note='of the timm model inside',
    )


def _num_outputs(backbone: nn.Module) -> int:
    inner = _inner(backbone)
    return (inner.num_outputs or inner.prefix)(backbone.timm_model)


def _inner(backbone: nn.Module) -> BackboneSpec:
    return backbone_spec(backbone.timm_model)


def _unpooled(backbone: nn.Module) -> str:
    if type(backbone.timm_model).__name__.startswith('Feature'):
        raise InputError(
            'TIMMBackbone(features_only=True) of mmpretrain splits the timm model into '
            'parts, and its parameters lose their names; use mmtlalign.TIMMBackbone '
            'with out_indices, which gives the same maps and can be traced.'
        )
    if hasattr(backbone.timm_model, 'dist_token'):
        raise InputError(
            'TIMMBackbone of mmpretrain outputs the average of the class and the '
            'distillation token, which no head supports; use mmtlalign.TIMMBackbone, '
            'which outputs both, with a DeiTClsHead of this package.'
        )
    return _inner(backbone).output(backbone.timm_model)


register_backbone(TIMMBackbone, wrapper_spec(_unpooled))
