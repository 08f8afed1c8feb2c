"""mmpretrain's T2T-ViT (ICCV 2021).

Overlapping windows of pixels become tokens three times: 7x7 pixels with stride
4, then twice 3x3 tokens with stride 2, each after an attention. A token starts
with the share of its stride cell of 4x4 pixels, the overlap left out; later it
takes the mean of the tokens that it is made of. The class token joins behind.

Attention in between has no residual but a shortcut from its values, which are
the tokens' own: labels move as with a residual. mmpretrain asks for the scale of
the logits by ``qk_scale``, which its ``MultiheadAttention`` replaces by
``1 / sqrt(D)`` and then divides by: logits of its T2T-ViT are queries times keys
times ``sqrt(D)``, D channels a head. A traced network computes what the stock one
computes, so the tap has this scale too; while it is read, it is fused.
"""

from collections.abc import Sequence

from mmpretrain.models.backbones import T2T_ViT
from mmpretrain.models.backbones.t2t_vit import T2TModule, T2TTransformerLayer
from mmpretrain.models.utils.attention import (
    scaled_dot_product_attention,
    scaled_dot_product_attention_pyimpl,
)
from torch import nn

from mmtlalign.errors import UnsupportedError
from mmtlalign.tracing.adapters.mmpretrain_vit import read_output, tap_plain
from mmtlalign.tracing.attach import AttentionHook, TraceContext, adopt
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
    register_token_module,
)

register_backbone(
    T2T_ViT,
    BackboneSpec(
        patch=lambda backbone: backbone.tokens_to_token.soft_split0.stride,
        grid=lambda backbone, size: _unfolded(
            backbone.tokens_to_token.soft_split0, size
        ),
        prefix=lambda backbone: 0,
        joins=lambda backbone: backbone.num_extra_tokens,
        output=lambda backbone: read_output(backbone, len(backbone.encoder)),
    ),
)


def _unfolded(split: nn.Unfold, size: Sequence[int]) -> tuple[int, int]:
    return T2TModule._get_unfold_size(split, size)


class TracedSoftSplit(nn.Unfold):
    """Overlapping windows of tokens become tokens."""

    def forward(self, x):
        reader = self.context.reader
        if reader is not None:
            high, wide = self.padding
            reader.merge(self.kernel_size, self.stride, (wide, wide, high, high))
        return super().forward(x)


class TracedT2TModule(T2TModule):
    """Lets the class token join where the last window has become a token."""

    def forward(self, x):
        out = super().forward(x)
        if self.context.reader is not None:
            self.context.reader.join_prefix(self.context.joins)
        return out


@register_token_module(T2TModule)
def _tell_splits(module: T2TModule, context: TraceContext) -> None:
    adopt(TracedSoftSplit, module.soft_split1, context)
    adopt(TracedSoftSplit, module.soft_split2, context)
    adopt(TracedT2TModule, module, context)


@register_attention(T2TTransformerLayer)
def _tap(module: T2TTransformerLayer, context: TraceContext) -> None:
    seam = getattr(module.attn, 'scaled_dot_product_attention', None)
    if seam is scaled_dot_product_attention:
        tap_plain(module.attn, context)
        return
    if getattr(seam, 'func', None) is not scaled_dot_product_attention_pyimpl:
        raise UnsupportedError(
            f'T2TTransformerLayer calls {seam}: known is the attention in Python of '
            'mmpretrain, which divides by its scale. Install the version that '
            'requirements/ pins.'
        )
    tap = AttentionHook(context, scale=1 / seam.keywords['scale'], stock=seam)
    module.attn.scaled_dot_product_attention = tap
