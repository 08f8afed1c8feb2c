"""Two images become one, and what was done is remembered. Plain PyTorch."""

from .augments import BatchMix, CutMix, Mixup, TokenCutMix
from .boxes import box_area, clipped_box, minmax_box
from .mix import Mix

__all__ = [
    'BatchMix',
    'CutMix',
    'Mix',
    'Mixup',
    'TokenCutMix',
    'box_area',
    'clipped_box',
    'minmax_box',
]
