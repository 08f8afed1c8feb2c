"""mmpretrain's Twins (NeurIPS 2021): PCPVT and SVT.

Half of the attentions take pooled keys (PCPVT: all of them), the other half of
SVT's work in windows. The conditional position encoding, a 3x3 depth-wise
convolution, leaves labels alone, as the MLP does: its weights are no
distribution over tokens, and signs are free.
"""

import functools

import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmpretrain.models.backbones import PCPVT
from mmpretrain.models.backbones.twins import (
    GlobalSubsampledAttention,
    LocallyGroupedSelfAttention,
)
from torch import nn

from mmtlalign.errors import InputError
from mmtlalign.tracing.adapters.mmpretrain_swin import adaptive_pads
from mmtlalign.tracing.adapters.mmpretrain_vit import tap_plain
from mmtlalign.tracing.attach import Listening, TraceContext, adopt
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
    register_token_module,
)


def _output(backbone: nn.Module) -> str:
    last = backbone.num_stage - 1
    if max(backbone.out_indices) != last:
        raise InputError(
            f'out_indices={tuple(backbone.out_indices)}: labels are traced to the '
            f'last stage, so the last output must be stage {last}; the default '
            f'({last},) of four stages is fine.'
        )
    return 'mean'


register_backbone(
    PCPVT,
    BackboneSpec(
        patch=lambda backbone: backbone.patch_embeds[0].projection.stride,
        prefix=lambda backbone: 0,
        output=_output,
        note='mean of the tokens',
    ),
)


class TracedGlobalAttention(GlobalSubsampledAttention):
    """Pools the shares of the keys where the stock module convolves the keys.

    The convolution's weights are no distribution over tokens, so that the mean
    over its kernel stands for it, as where tokens are merged.
    """

    def forward(self, x, hw_shape):
        reader = self.context.reader
        if reader is not None and self.sr_ratio > 1:
            side, step = self.sr.kernel_size, self.sr.stride
            reader.reduce_keys(
                functools.partial(F.avg_pool2d, kernel_size=side, stride=step)
            )
        return super().forward(x, hw_shape)


@register_attention(GlobalSubsampledAttention)
def _tap_global(module: GlobalSubsampledAttention, context: TraceContext) -> None:
    tap_plain(module, context)
    adopt(TracedGlobalAttention, module, context)


class TracedLocalAttention(Listening, LocallyGroupedSelfAttention):
    """Cuts the shares into windows: no shift, padding below and on the right."""

    def before(self, reader, x, hw_shape):
        reader.enter_windows(hw_shape, (self.window_size,) * 2)

    def after(self, reader):
        reader.leave_windows()


@register_attention(LocallyGroupedSelfAttention)
def _tap_local(module: LocallyGroupedSelfAttention, context: TraceContext) -> None:
    adopt(TracedLocalAttention, module, context)


class TracedPatchEmbed(PatchEmbed):
    """Tells the reader of mmcv's patch embedding, wherever one is met."""

    def forward(self, x):
        reader = self.context.reader
        if reader is not None:
            layer = self.projection
            pads = adaptive_pads(self.adaptive_padding, layer, x.shape[-2:])
            reader.embed(layer.kernel_size, layer.stride, pads)
        return super().forward(x)


@register_token_module(PatchEmbed)
def _tell_embedding(module: PatchEmbed, context: TraceContext) -> None:
    adopt(TracedPatchEmbed, module, context)
