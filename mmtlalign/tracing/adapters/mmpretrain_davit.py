"""mmpretrain's DaViT (ECCV 2022).

Windows without shift and attention over channels take turns. The latter maps
every token by itself, with a matrix that is the same for all, and moves no
label; nor do the depth-wise convolutions that encode positions.
"""

from mmpretrain.models.backbones import DaViT
from mmpretrain.models.backbones.davit import (
    ChannelAttention,
    DaViTDownSample,
    DaViTWindowMSA,
)

from mmtlalign.tracing.adapters.mmpretrain_swin import SWIN, WINDOW_ATTENTIONS
from mmtlalign.tracing.attach import TraceContext, adopt
from mmtlalign.tracing.support import register_backbone, register_token_module

register_backbone(DaViT, SWIN)
WINDOW_ATTENTIONS.add(DaViTWindowMSA)


class TracedDownSample(DaViTDownSample):
    """Merges the shares as the convolution merges the tokens.

    The stock padding is for maps and sees sequences of tokens here: where it
    would pad, the stock forward fails.
    """

    def forward(self, x, input_size):
        reader = self.context.reader
        if reader is not None:
            layer = self.projection
            high, wide = layer.padding
            reader.merge(layer.kernel_size, layer.stride, (wide, wide, high, high))
        return super().forward(x, input_size)


@register_token_module(DaViTDownSample)
def _tell_merging(module: DaViTDownSample, context: TraceContext) -> None:
    adopt(TracedDownSample, module, context)


@register_token_module(ChannelAttention)
def _keep(module: ChannelAttention, context: TraceContext) -> None:
    """Attention over channels moves no token: nothing to tap."""
