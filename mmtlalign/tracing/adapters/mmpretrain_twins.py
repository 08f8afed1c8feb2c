"""mmpretrain's Twins (NeurIPS 2021): PCPVT and SVT.

All attentions of PCPVT have pooled keys; in SVT half of them do, and the other half is
in windows. The conditional position encoding, a 3x3 depth-wise convolution, does not
move labels, as the MLP does not: its weights are no distribution over tokens, and may
be negative.
"""

import functools

import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmpretrain.models.backbones import PCPVT
from mmpretrain.models.backbones.twins import (
    GlobalSubsampledAttention,
    LocallyGroupedSelfAttention,
)
from torch import Tensor, nn

from mmtlalign.tracing.adapters.mmcv_patches import adaptive_padding
from mmtlalign.tracing.adapters.mmpretrain_vit import attach_plain
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import (
    BackboneSpec,
    check_last_output,
    register_attention,
    register_backbone,
    register_token_module,
)


def _output(backbone: nn.Module) -> str:
    check_last_output(backbone.out_indices, backbone.num_stage - 1)
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


def _reduce_keys(
    reader: Reader, module: nn.Module, x: Tensor, hw_shape: tuple[int, int]
) -> None:
    """Pool the shares of the keys where the module convolves its keys.

    The convolution's weights are no distribution over tokens, so the mean over its
    kernel is used, as for merged tokens.
    """
    if module.sr_ratio > 1:
        side, step = module.sr.kernel_size, module.sr.stride
        reader.reduce_keys(
            functools.partial(F.avg_pool2d, kernel_size=side, stride=step)
        )


@register_attention(GlobalSubsampledAttention)
def _attach_global(module: nn.Module, context: TraceContext) -> None:
    context.before(module, _reduce_keys)
    attach_plain(module, context)


def _enter_windows(
    reader: Reader, module: nn.Module, x: Tensor, hw_shape: tuple[int, int]
) -> None:
    """Cut the shares into windows, without shift and padded at the bottom and right."""
    reader.enter_windows(hw_shape, (module.window_size,) * 2)


@register_attention(LocallyGroupedSelfAttention)
def _attach_local(module: nn.Module, context: TraceContext) -> None:
    context.in_windows(module, _enter_windows)
    context.capture(module)


def _embed(reader: Reader, module: nn.Module, x: Tensor) -> None:
    layer = module.projection
    padding = adaptive_padding(module.adaptive_padding, layer, x.shape[-2:])
    reader.embed(layer.kernel_size, layer.stride, padding)


@register_token_module(PatchEmbed)
def _attach_embedding(module: nn.Module, context: TraceContext) -> None:
    """Attach to mmcv's patch embedding, in any network."""
    context.before(module, _embed)
