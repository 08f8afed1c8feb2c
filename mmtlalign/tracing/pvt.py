"""This package's PVT. Its layers call attention through a seam; how tokens become
keys, and when the class token joins, is told by two twins."""

import functools

import torch.nn.functional as F
from torch import nn

from ..backbones.pvt import PVT
from ..backbones.pvt_parts import Positions, SpatialReductionAttention
from . import geometry
from .known import Family, register_attention, register_backbone, register_helper
from .taps import AttentionTap, Wire, adopt


def _output(backbone: nn.Module) -> str:
    if backbone.out_type == 'cls_token':
        return 'class'
    last = backbone.num_stages - 1
    if max(backbone.out_indices) != last:
        raise ValueError(
            f'out_indices={backbone.out_indices}: labels are traced to the last '
            f'stage, so the last output must be stage {last}; leave out_indices out.'
        )
    return 'mean'


def _first_layer(backbone: nn.Module) -> nn.Conv2d:
    return backbone.stages[0].patch_embed.projection


register_backbone(
    PVT,
    Family(
        patch=lambda backbone: _first_layer(backbone).stride,
        prefix=lambda backbone: 0,
        joins=lambda backbone: int(backbone.with_cls_token),
        output=_output,
        grid=lambda backbone, size: geometry.convolved(size, _first_layer(backbone)),
        note='class token of the last stage, or mean of the tokens',
    ),
)


class TracedPositions(Positions):
    """Lets the class token join the shares: it starts at the mean of the others."""

    def forward(self, x, grid):
        reader = self.wire.reader
        if reader is not None and self.extra:
            reader.join_prefix(self.extra)
        return super().forward(x, grid)


class TracedReduction(SpatialReductionAttention):
    """Pools the shares of the keys where the stock module reduces the keys."""

    def forward(self, x, grid):
        reader = self.wire.reader
        if reader is not None and self.sr_ratio > 1:
            reader.reduce_keys(
                functools.partial(F.avg_pool2d, kernel_size=self.sr_ratio)
            )
        return super().forward(x, grid)


@register_attention(SpatialReductionAttention)
def _tap(module: SpatialReductionAttention, wire: Wire) -> None:
    adopt(TracedReduction, module, wire)
    module.scaled_dot_product_attention = AttentionTap(wire, rides=True)


@register_helper(Positions)
def _tell_class_token(module: Positions, wire: Wire) -> None:
    adopt(TracedPositions, module, wire)
