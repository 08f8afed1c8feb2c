"""This package's Swin with class attention."""

from torch import nn

from ..backbones.caswin import CASwin, ClassAttention
from .known import Family, register_attention, register_backbone
from .taps import AttentionTap, Wire, adopt


def _output(backbone: nn.Module) -> str:
    if backbone.out_type != 'cls_token':
        raise ValueError(
            f'CASwin with out_type={backbone.out_type!r}: maps do not pass the class '
            "attention; set out_type='cls_token', or take SwinTransformer for the "
            'mean of the tokens.'
        )
    return 'class'


register_backbone(
    CASwin,
    Family(
        patch=lambda backbone: backbone.patch_embed.projection.stride,
        prefix=lambda backbone: 0,
        joins=lambda backbone: 1,
        output=_output,
        note='class token of the last block',
    ),
)


class TracedClassAttention(ClassAttention):
    """Lets the class token join the shares, at the mean of the others."""

    def forward(self, x):
        if self.wire.reader is not None:
            self.wire.reader.join_prefix()
        return super().forward(x)


@register_attention(ClassAttention)
def _tap(module: ClassAttention, wire: Wire) -> None:
    adopt(TracedClassAttention, module, wire)
    module.scaled_dot_product_attention = AttentionTap(wire, rides=True)
