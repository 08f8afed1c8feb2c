"""DHVT of this package: its attention has a seam, and appends tokens to it.

How shares pass the head tokens is a rule of ours, in no paper: each is made from
the mean of all tokens, so that is where it starts; afterwards its share joins that
of the class token, as its content does (:meth:`Tracer.append_tokens`).
"""

import dataclasses

from mmtlalign.backbones.dhvt import DHVT
from mmtlalign.backbones.dhvt_parts import HeadInteractedAttention

from .known import register_attention, register_backbone
from .mmpretrain_vit import VIT
from .taps import AttentionTap, Wire, adopt

register_backbone(
    DHVT,
    dataclasses.replace(
        VIT, patch=lambda backbone: (backbone.patch_size, backbone.patch_size)
    ),
)


class TracedHeadInteractedAttention(HeadInteractedAttention):
    """Tells the reader that head tokens take part in the next attention."""

    def head_tokens(self, x):
        if self.wire.reader is not None:
            self.wire.reader.append_tokens(self.num_heads)
        return super().head_tokens(x)


@register_attention(HeadInteractedAttention)
def _tap(module: HeadInteractedAttention, wire: Wire) -> None:
    adopt(TracedHeadInteractedAttention, module, wire)
    module.scaled_dot_product_attention = AttentionTap(wire, rides=True)
    wire.appends = True
