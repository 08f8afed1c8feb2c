"""mmpretrain's BEiT (v1 and v2) and EVA-02.

Both are plain transformers whose attention knows where tokens are: BEiT adds a
bias to the logits, EVA-02 turns queries and keys. Either is in the softmax that
the stock forward computes, and so in what moves the labels.
"""

from mmpretrain.models.backbones import BEiTViT, ViTEVA02
from mmpretrain.models.backbones.vit_eva02 import AttentionWithRoPE
from mmpretrain.models.utils import BEiTAttention

from .known import register_attention, register_backbone
from .mmpretrain_vit import VIT
from .taps import Listening, Wire, adopt, listen

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
            raise ValueError(
                f'The image has {tokens} tokens and the relative position bias is '
                f'for {known}, a class token among them: give images of the '
                "backbone's img_size, or build it with theirs."
            )


@register_attention(BEiTAttention)
def _tap(module: BEiTAttention, wire: Wire) -> None:
    adopt(TracedBEiTAttention, module, wire)
