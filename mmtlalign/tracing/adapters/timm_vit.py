"""timm's plain transformers: ViT, DeiT, DeiT-III, EVA, BEiT.

Their attentions compute in the middle of their forward, fused or not, so they
are listened to.
"""

from functools import partial

from torch import nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.tracing.adapters.timm_check import look_up, told, try_once
from mmtlalign.tracing.attach import TraceContext, listen
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
    register_token_module,
)

Attention, AttentionRope, DiffAttention = look_up(
    'timm.layers', 'Attention', 'AttentionRope', 'DiffAttention'
)
PatchDropout, PatchDropoutWithIndices = look_up(
    'timm.layers', 'PatchDropout', 'PatchDropoutWithIndices'
)
ParallelScalingBlock, DiffParallelScalingBlock, ParallelThingsBlock = look_up(
    'timm.models.vision_transformer',
    'ParallelScalingBlock',
    'DiffParallelScalingBlock',
    'ParallelThingsBlock',
)
(VisionTransformer,) = look_up('timm.models.vision_transformer', 'VisionTransformer')
(VisionTransformerDistilled,) = look_up(
    'timm.models.deit', 'VisionTransformerDistilled'
)
Eva, EvaAttention = look_up('timm.models.eva', 'Eva', 'EvaAttention')
Beit, BeitAttention = look_up('timm.models.beit', 'Beit', 'Attention')


@told
def _output(model: nn.Module) -> str:
    if model.global_pool == 'token':
        return 'class'
    if model.global_pool == 'avg' and not getattr(model, 'pool_include_prefix', False):
        return 'mean'
    if model.global_pool == '':
        # As mmpretrain's TIMMBackbone leaves it. Models that pool the mean have
        # their last norm behind the pooling, unless they have no class token.
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


@told
def _patch(model: nn.Module) -> tuple[int, int]:
    return tuple(model.patch_embed.feat_ratio(as_scalar=False))


@told
def _grid(model: nn.Module, size) -> tuple[int, int]:
    return tuple(model.patch_embed.dynamic_feat_size(tuple(size)))


_FAMILY = partial(
    BackboneSpec,
    patch=_patch,
    prefix=told(lambda model: model.num_prefix_tokens),
    output=_output,
    grid=_grid,
)
for _cls in (VisionTransformer, Eva, Beit):
    # Registers follow the class token and are no output.
    register_backbone(_cls, _FAMILY(outputs=lambda model: 1))
register_backbone(
    VisionTransformerDistilled,
    _FAMILY(outputs=lambda model: 2, note='class and distillation token, each its own'),
)


# What makes a tiny module of each, besides its width. The parallel block does what
# an attention does elsewhere; the residual is its own.
_LISTENED = {
    Attention: {},
    AttentionRope: {},
    EvaAttention: dict(norm_layer=nn.LayerNorm),
    BeitAttention: {},
    ParallelScalingBlock: {},
}


def _tap(module: nn.Module, context: TraceContext) -> None:
    cls = type(module)
    make = partial(cls, 8, num_heads=2, **_LISTENED[cls])
    try_once(cls, make, listen, nn.Module.__call__, (2, 3))
    listen(module, context)


for _cls in _LISTENED:
    register_attention(_cls)(_tap)

_DIFFERENCE = (
    'the difference of two attentions has negative weights, which move no shares; '
    "choose attn_layer='attn' or another block_fn."
)
_REFUSED = {
    DiffAttention: _DIFFERENCE,
    DiffParallelScalingBlock: _DIFFERENCE,
    ParallelThingsBlock: (
        'several attentions side by side share one residual, for which there is no '
        'rule; choose another block_fn.'
    ),
    PatchDropout: 'tokens are dropped at random; set patch_drop_rate=0.',
    PatchDropoutWithIndices: 'tokens are dropped at random; set patch_drop_rate=0.',
}


def _refuse(module: nn.Module, context: TraceContext) -> None:
    name = type(module).__name__
    raise UnsupportedError(
        f'A timm model with {name} cannot be traced: {_REFUSED[type(module)]}'
    )


for _cls in _REFUSED:
    register_token_module(_cls)(_refuse)
