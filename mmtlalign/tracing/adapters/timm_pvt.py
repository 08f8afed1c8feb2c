"""timm's PVT v2, with spatial reduction by a convolution or (linear) by pooling."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.tracing.adapters.timm_check import look_up, told, try_once
from mmtlalign.tracing.attach import Listening, TraceContext, adopt
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
    register_token_module,
)

PyramidVisionTransformerV2, Attention, OverlapPatchEmbed = look_up(
    'timm.models.pvt_v2', 'PyramidVisionTransformerV2', 'Attention', 'OverlapPatchEmbed'
)

register_backbone(
    PyramidVisionTransformerV2,
    BackboneSpec(
        patch=told(lambda model: tuple(model.patch_embed.proj.stride)),
        prefix=lambda model: 0,
        output=lambda model: 'mean',
        note='mean of the tokens',
    ),
)


class TracedAttention(Listening, Attention):
    """Pools the shares of the keys as the keys are pooled."""

    def before(self, reader, x: Tensor, feat_size) -> None:
        if self.pool is not None:
            size = self.pool.output_size
            reader.reduce_keys(partial(F.adaptive_avg_pool2d, output_size=size))
        elif self.sr is not None:
            kernel, stride = self.sr.kernel_size, self.sr.stride
            reader.reduce_keys(partial(F.avg_pool2d, kernel_size=kernel, stride=stride))


class TracedOverlapPatchEmbed(OverlapPatchEmbed):
    """Twin of the convolution that makes tokens, or merges them."""

    def forward(self, x: Tensor) -> Tensor:
        reader = self.context.reader
        if reader is not None:
            high, wide = self.proj.padding
            reader.embed(
                self.proj.kernel_size, self.proj.stride, (wide, wide, high, high)
            )
        return super().forward(x)


@register_attention(Attention)
def _tap_attention(module: nn.Module, context: TraceContext) -> None:
    install = partial(adopt, TracedAttention)
    grid = (3, 5)
    # Trailing tokens that fill no square of 2 x 2 are no keys.
    make = partial(Attention, 8, num_heads=2, sr_ratio=2)
    try_once(Attention, make, install, lambda m, tokens: m(tokens, grid), grid)
    install(module, context)


@register_token_module(OverlapPatchEmbed)
def _tap_embed(module: nn.Module, context: TraceContext) -> None:
    def install(module, context):
        adopt(TracedOverlapPatchEmbed, module, context)

    def run(module, tokens):
        if module.context.reader is not None:
            module.context.reader.embed(None, None)
        return module(tokens.mT.unflatten(2, grid)).flatten(1, 2)

    grid = (3, 5)
    make = partial(OverlapPatchEmbed, 3, 2, in_chans=8, embed_dim=8)
    try_once(OverlapPatchEmbed, make, install, run, grid, 0)
    install(module, context)
