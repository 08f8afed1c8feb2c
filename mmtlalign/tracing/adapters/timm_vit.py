"""timm's plain transformers: ViT, DeiT, DeiT-III, EVA, BEiT.

Their attention is computed in the middle of a forward method, fused or not, and is read
there by ``TraceContext.capture``.
"""

import sys
from collections.abc import Sequence
from functools import partial

from torch import nn

from mmtlalign.errors import InputError, UnsupportedError
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

Attention, AttentionRope = import_classes('timm.layers', 'Attention', 'AttentionRope')
VisionTransformer, ParallelScalingBlock = import_classes(
    'timm.models.vision_transformer', 'VisionTransformer', 'ParallelScalingBlock'
)
(VisionTransformerDistilled,) = import_classes(
    'timm.models.deit', 'VisionTransformerDistilled'
)
Eva, EvaAttention = import_classes('timm.models.eva', 'Eva', 'EvaAttention')
Beit, BeitAttention = import_classes('timm.models.beit', 'Beit', 'Attention')


@require_attributes
def _output(model: nn.Module) -> str:
    if model.global_pool == 'token':
        return 'class'
    if model.global_pool == 'avg' and not getattr(model, 'pool_include_prefix', False):
        return 'mean'
    if model.global_pool == '':
        # Set by mmpretrain's TIMMBackbone. Models with mean pooling have their last
        # norm after the pooling (fc_norm), unless they have no class token.
        has_class = model.cls_token is not None
        return 'class' if has_class and _is_identity(model.fc_norm) else 'mean'
    raise InputError(
        f'{type(model).__name__} of timm pools with global_pool='
        f'{model.global_pool!r}, pool_include_prefix='
        f'{getattr(model, "pool_include_prefix", False)}: no share can be read from '
        "it; choose global_pool='token' (class token) or 'avg' without prefix tokens."
    )


def _is_identity(module: nn.Module) -> bool:
    return isinstance(module, nn.Identity)


@require_attributes
def _patch(model: nn.Module) -> tuple[int, int]:
    return tuple(model.patch_embed.feat_ratio(as_scalar=False))


@require_attributes
def _grid(model: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    return tuple(model.patch_embed.dynamic_feat_size(tuple(size)))


_SPEC = partial(
    BackboneSpec,
    patch=_patch,
    prefix=require_attributes(lambda model: model.num_prefix_tokens),
    output=_output,
    grid=_grid,
)
for _cls in (VisionTransformer, Eva, Beit):
    # Register tokens follow the class token and are not an output.
    register_backbone(_cls, _SPEC(num_outputs=lambda model: 1))
register_backbone(
    VisionTransformerDistilled,
    _SPEC(
        num_outputs=lambda model: 2, note='class and distillation token, each its own'
    ),
)


# Arguments of a tiny module of each, besides its width. The parallel block contains
# attention and residual and is treated as an attention.
_TINY = {
    Attention: {},
    AttentionRope: {},
    EvaAttention: dict(norm_layer=nn.LayerNorm),
    BeitAttention: {},
    ParallelScalingBlock: {},
}


def _capture(module: nn.Module, context: TraceContext) -> None:
    context.capture(module)


@register_attention(*_TINY)
def _attach(module: nn.Module, context: TraceContext) -> None:
    cls = type(module)

    def make() -> nn.Module:
        return cls(8, num_heads=2, **_TINY[cls])

    try_once(cls, make, _capture, nn.Module.__call__, (2, 3))
    _capture(module, context)


_DIFFERENCE = (
    'the difference of two attentions has negative weights, which define no shares; '
    "choose attn_layer='attn' or another block_fn."
)
_DROPS = 'tokens are dropped at random; set patch_drop_rate=0.'
_NAMES = {
    'timm.layers': {
        'AttentionPoolLatent': (
            'it pools the tokens by an attention of its own; choose '
            "global_pool='avg', or 'token' if it has a class token."
        ),
        'DiffAttention': _DIFFERENCE,
        'PatchDropout': _DROPS,
        'PatchDropoutWithIndices': _DROPS,
    },
    'timm.models.vision_transformer': {
        'DiffParallelScalingBlock': _DIFFERENCE,
        'ParallelThingsBlock': (
            'several attentions side by side share one residual, for which there is no '
            'rule; choose another block_fn.'
        ),
    },
}
# Not all versions of timm have all of them.
_REFUSED = {
    getattr(sys.modules[module], name): reason
    for module, reasons in _NAMES.items()
    for name, reason in reasons.items()
    if hasattr(sys.modules[module], name)
}


@register_token_module(*_REFUSED)
def _refuse(module: nn.Module, context: TraceContext) -> None:
    name = type(module).__name__
    raise UnsupportedError(
        f'A timm model with {name} cannot be traced: {_REFUSED[type(module)]}'
    )
