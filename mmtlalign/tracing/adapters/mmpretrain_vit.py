"""mmpretrain's plain transformers: VisionTransformer and the distilled DeiT.

Their attention calls the instance attribute ``scaled_dot_product_attention``,
a seam that takes a tap and stays fused.

mmpretrain's BEiT (v1 and v2) and EVA-02.

Both are plain transformers whose attention knows where tokens are: BEiT adds a
bias to the logits, EVA-02 turns queries and keys. Either is in the softmax that
the stock forward computes, and so in what moves the labels.
"""

import dataclasses

from mmpretrain.models.backbones import (
    BEiTViT,
    DistilledVisionTransformer,
    VisionTransformer,
    ViTEVA02,
)
from mmpretrain.models.backbones.vit_eva02 import AttentionWithRoPE
from mmpretrain.models.utils import BEiTAttention
from mmpretrain.models.utils.attention import (
    MultiheadAttention,
    scaled_dot_product_attention,
)
from torch import nn

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.fast.modules import FastMultiheadAttention, adopt_fast
from mmtlalign.tracing.attach import (
    AttentionHook,
    Listening,
    TraceContext,
    adopt,
    listen,
)
from mmtlalign.tracing.support import (
    BackboneSpec,
    register_attention,
    register_backbone,
)


def read_output(backbone: nn.Module, layers: int) -> str:
    """``'class'`` or ``'mean'`` by the ``out_type`` that mmpretrain's plain
    transformers share; ValueError if the last of their layers is not output."""
    last = layers - 1
    if max(backbone.out_indices) != last:
        raise InputError(
            f'out_indices={list(backbone.out_indices)}: labels are traced to the '
            f'last layer, so the last output must be layer {last}; leave '
            'out_indices out.'
        )
    kinds = {'cls_token': 'class', 'avg_featmap': 'mean', 'featmap': 'mean'}
    if backbone.out_type not in kinds:
        raise InputError(
            f'out_type={backbone.out_type!r}: no share can be read from it; choose '
            f'one of {sorted(kinds)}.'
        )
    return kinds[backbone.out_type]


VIT = BackboneSpec(
    patch=lambda backbone: backbone.patch_embed.projection.stride,
    prefix=lambda backbone: backbone.num_extra_tokens,
    output=lambda backbone: read_output(backbone, backbone.num_layers),
)
register_backbone(VisionTransformer, VIT)
register_backbone(
    DistilledVisionTransformer,
    dataclasses.replace(VIT, note='class and distillation token, each its own'),
)


@register_attention(MultiheadAttention)
@register_attention(FastMultiheadAttention)
def tap_plain(module: MultiheadAttention, context: TraceContext) -> None:
    """Tap an attention of mmpretrain that calls its seam with the default scale."""
    if module.scaled_dot_product_attention is not scaled_dot_product_attention:
        # mmpretrain ignores the value and divides by the default scale instead
        # of multiplying: even passing the default changes the output.
        raise UnsupportedError(
            'MultiheadAttention(qk_scale=...) of mmpretrain ignores the value and '
            'inverts the scale; leave qk_scale out (None) to train and trace it.'
        )
    adopt_fast(module)
    module.scaled_dot_product_attention = AttentionHook(context, rides=True)


register_backbone(BEiTViT, VIT)
register_backbone(ViTEVA02, VIT)
register_attention(AttentionWithRoPE)(listen)


class TracedBEiTAttention(Listening, BEiTAttention):
    """Says in words what the stock forward says in shapes: its size is fixed."""

    def before(self, reader, x, rel_pos_bias=None):
        tokens = known = x.shape[1]
        if self.window_size is not None:
            known = self.window_size[0] * self.window_size[1] + 1
        elif rel_pos_bias is not None:
            known = rel_pos_bias.shape[-1]
        if tokens != known:
            raise InputError(
                f'The image has {tokens} tokens and the relative position bias is '
                f'for {known}, a class token among them: give images of the '
                "backbone's img_size, or build it with theirs."
            )


@register_attention(BEiTAttention)
def _tap(module: BEiTAttention, context: TraceContext) -> None:
    adopt(TracedBEiTAttention, module, context)
