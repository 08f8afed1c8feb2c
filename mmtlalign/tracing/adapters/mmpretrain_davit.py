"""mmpretrain's DaViT (ECCV 2022).

Attention in windows without shift alternates with attention over channels. The latter
maps every token by itself, with the same matrix for all, and moves no labels; nor do
the depth-wise convolutions that encode positions.
"""

from mmpretrain.models.backbones import DaViT
from mmpretrain.models.backbones.davit import (
    ChannelAttention,
    DaViTDownSample,
    DaViTWindowMSA,
)
from torch import Tensor, nn

from mmtlalign.tracing.adapters.mmpretrain_swin import SWIN, WINDOW_ATTENTIONS
from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import register_backbone, register_token_module

register_backbone(DaViT, SWIN)
WINDOW_ATTENTIONS.append(DaViTWindowMSA)


def _merge(
    reader: Reader, module: nn.Module, x: Tensor, input_size: tuple[int, int]
) -> None:
    """Merge the shares as the convolution merges the tokens.

    mmpretrain's padding is for maps but gets sequences of tokens here, so its forward
    fails where it would pad. No padding has to be traced.
    """
    layer = module.projection
    high, wide = layer.padding
    reader.merge_tokens(layer.kernel_size, layer.stride, (wide, wide, high, high))


@register_token_module(DaViTDownSample)
def _attach_merging(module: nn.Module, context: TraceContext) -> None:
    context.before(module, _merge)


@register_token_module(ChannelAttention)
def _ignore(module: nn.Module, context: TraceContext) -> None:
    """Attach nothing: attention over channels moves no token."""
