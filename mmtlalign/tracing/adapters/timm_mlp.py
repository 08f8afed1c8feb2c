"""timm's MLP-Mixer, gMixer and ResMLP, whose learnt weights mix the tokens.

Labels follow them by :mod:`mmtlalign.tracing.learnt_weights`. gMLP is rejected: it
multiplies tokens, and a product does not have a single share of each.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from mmtlalign.errors import UnsupportedError
from mmtlalign.tracing.adapters.learnt_layers import (
    read_gated_mlp,
    read_linear,
    read_token_mlp,
)
from mmtlalign.tracing.adapters.timm_check import (
    import_classes,
    require_attributes,
    try_once,
)
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
    register_token_module,
)

MlpMixer, MixerBlock, ResBlock, SpatialGatingBlock = import_classes(
    'timm.models.mlp_mixer', 'MlpMixer', 'MixerBlock', 'ResBlock', 'SpatialGatingBlock'
)
Mlp, GluMlp = import_classes('timm.layers', 'Mlp', 'GluMlp')

register_backbone(
    MlpMixer,
    BackboneSpec(
        patch=require_attributes(
            lambda model: tuple(model.stem.feat_ratio(as_scalar=False))
        ),
        prefix=lambda model: 0,
        output=lambda model: 'mean',
        has_learnt_weights=lambda model: True,
        note='mean of the tokens, with `learnt_weights`',
    ),
)


def _install_mixer(block: nn.Module, context: TraceContext) -> None:
    mlp: Any = block.mlp_tokens
    kind = type(mlp)
    if kind is GluMlp:
        read_gated_mlp(context, mlp.fc1, mlp.act, mlp.fc2, mlp.gate_last)
    elif kind is Mlp:
        read_token_mlp(context, mlp.fc1, mlp.act, mlp.fc2)
    else:
        raise UnsupportedError(
            f'MixerBlock of timm with a {kind.__name__} over its tokens cannot be '
            'traced, only with Mlp or GluMlp.'
        )


def _install_linear(block: nn.Module, context: TraceContext) -> None:
    read_linear(context, block.linear_tokens)


_WAYS: dict[type, Callable] = {MixerBlock: _install_mixer, ResBlock: _install_linear}
# Token grid of the tiny block that is tested.
_GRID = (2, 3)


@register_attention(*_WAYS)
def _attach(block: nn.Module, context: TraceContext) -> None:
    cls: Any = type(block)
    install = _WAYS[cls]
    try_once(cls, partial(cls, 8, 6), install, nn.Module.__call__, _GRID)
    install(block, context)


@register_token_module(SpatialGatingBlock)
def _refuse(block: nn.Module, context: TraceContext) -> None:
    raise UnsupportedError(
        'gMLP of timm cannot be traced: its spatial gating multiplies a token with a '
        'sum of others, and a product cannot be divided into shares. Train it with a '
        'stock head (plain CutMix).'
    )
