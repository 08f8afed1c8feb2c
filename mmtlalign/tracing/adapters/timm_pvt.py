"""timm's PVT v2, with spatial reduction by a convolution or (linear) by pooling."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.tracing.adapters.timm_check import (
    import_classes,
    require_attributes,
    try_once,
)
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.propagate import Padding, Pair
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
    register_token_module,
)

PyramidVisionTransformerV2, Attention, OverlapPatchEmbed = import_classes(
    'timm.models.pvt_v2', 'PyramidVisionTransformerV2', 'Attention', 'OverlapPatchEmbed'
)

register_backbone(
    PyramidVisionTransformerV2,
    BackboneSpec(
        patch=require_attributes(lambda model: tuple(model.patch_embed.proj.stride)),
        prefix=lambda model: 0,
        output=lambda model: 'mean',
        note='mean of the tokens',
    ),
)
# The last row and column of this grid fill no square of 2 x 2 and are not keys.
GRID = (3, 5)


def _reduce_keys(
    reader: Reader, module: nn.Module, x: Tensor, feat_size: tuple[int, int]
) -> None:
    """Pool the shares of the keys as the keys are pooled."""
    if module.pool is not None:
        size = module.pool.output_size
        reader.reduce_keys(partial(F.adaptive_avg_pool2d, output_size=size))
    elif module.sr is not None:
        kernel, stride = module.sr.kernel_size, module.sr.stride
        reader.reduce_keys(partial(F.avg_pool2d, kernel_size=kernel, stride=stride))


def _install_attention(module: nn.Module, context: TraceContext) -> None:
    context.before(module, _reduce_keys)
    context.capture(module)


@register_attention(Attention)
def _attach_attention(module: nn.Module, context: TraceContext) -> None:
    make = partial(Attention, 8, num_heads=2, sr_ratio=2)
    run = partial(_run_attention, GRID)
    try_once(Attention, make, _install_attention, run, GRID)
    _install_attention(module, context)


def _run_attention(grid: tuple[int, int], module: nn.Module, tokens: Tensor) -> Tensor:
    return module(tokens, grid)


def _geometry(module: nn.Module) -> tuple[Pair, Pair, Padding]:
    high, wide = module.proj.padding
    return module.proj.kernel_size, module.proj.stride, (wide, wide, high, high)


def _embed(reader: Reader, module: nn.Module, x: Tensor) -> None:
    reader.embed(*_geometry(module))


def _merge(reader: Reader, module: nn.Module, x: Tensor) -> None:
    """Merge tokens, as all embeddings of a model but the first do."""
    reader.merge_tokens(*_geometry(module))


@register_token_module(OverlapPatchEmbed)
def _attach_embedding(module: nn.Module, context: TraceContext) -> None:
    def install(module: nn.Module, context: TraceContext) -> None:
        context.before(module, _merge)

    def run(module: nn.Module, tokens: Tensor) -> Tensor:
        return module(tokens.mT.unflatten(2, GRID)).flatten(1, 2)

    make = partial(OverlapPatchEmbed, 3, 2, in_chans=8, embed_dim=8)
    try_once(OverlapPatchEmbed, make, install, run, GRID, 0)
    context.before(module, _embed)
