"""mmpretrain's plain transformers: VisionTransformer and the distilled DeiT.

Their attention calls the instance attribute ``scaled_dot_product_attention``,
a seam that takes a tap and stays fused.
"""

import dataclasses

from mmpretrain.models.backbones import DistilledVisionTransformer, VisionTransformer
from mmpretrain.models.utils.attention import (
    MultiheadAttention,
    scaled_dot_product_attention,
)
from torch import nn

from ..attention.mmpretrain_twins import FastMultiheadAttention, adopt_fast
from .known import Family, register_attention, register_backbone
from .taps import AttentionTap, Wire


def read_output(backbone: nn.Module, layers: int) -> str:
    """``'class'`` or ``'mean'`` by the ``out_type`` that mmpretrain's plain
    transformers share; ValueError if the last of their layers is not output."""
    last = layers - 1
    if max(backbone.out_indices) != last:
        raise ValueError(
            f'out_indices={list(backbone.out_indices)}: labels are traced to the '
            f'last layer, so the last output must be layer {last}; leave '
            'out_indices out.'
        )
    kinds = {'cls_token': 'class', 'avg_featmap': 'mean', 'featmap': 'mean'}
    if backbone.out_type not in kinds:
        raise ValueError(
            f'out_type={backbone.out_type!r}: no share can be read from it; choose '
            f'one of {sorted(kinds)}.'
        )
    return kinds[backbone.out_type]


VIT = Family(
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
def tap_plain(module: MultiheadAttention, wire: Wire) -> None:
    """Tap an attention of mmpretrain that calls its seam with the default scale."""
    if module.scaled_dot_product_attention is not scaled_dot_product_attention:
        # mmpretrain ignores the value and divides by the default scale instead
        # of multiplying: even passing the default changes the output.
        raise TypeError(
            'MultiheadAttention(qk_scale=...) of mmpretrain ignores the value and '
            'inverts the scale; leave qk_scale out (None) to train and trace it.'
        )
    adopt_fast(module)
    module.scaled_dot_product_attention = AttentionTap(wire, rides=True)
