"""mmpretrain's pooling neck, for backbones of mmdet as well."""

from mmpretrain.models.necks import GlobalAveragePooling as StockPooling
from torch import Tensor

from mmtlalign.registry import MODELS

__all__ = ['GlobalAveragePooling']


@MODELS.register_module()
class GlobalAveragePooling(StockPooling):
    """``GlobalAveragePooling`` that also takes a list of maps.

    mmdet's ``PyramidVisionTransformer`` outputs one, which mmpretrain's neck
    refuses. Arguments as of mmpretrain's.
    """

    def forward(self, inputs: tuple | list | Tensor) -> tuple[Tensor, ...] | Tensor:
        """Maps (B, C, h, w) to (B, C) each."""
        return super().forward(tuple(inputs) if isinstance(inputs, list) else inputs)
