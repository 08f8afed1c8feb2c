"""Two images become one, and what was done is remembered. Plain PyTorch."""

from .augments import BatchMix, Mixup
from .box_mix import CutMix, ResizeMix
from .boxes import box_area, box_mask, clipped_box, minmax_box, scaled_box
from .fmix import FMix
from .grid_mix import GridMix
from .mix import Mix
from .mix_token import swap_box, swapped_patches
from .token_mix import TokenBatchMix, TokenCutMix, TokenMix
from .token_swap import MixToken, TokenSwap

__all__ = [
    'BatchMix',
    'CutMix',
    'FMix',
    'GridMix',
    'Mix',
    'MixToken',
    'Mixup',
    'ResizeMix',
    'TokenBatchMix',
    'TokenCutMix',
    'TokenMix',
    'TokenSwap',
    'box_area',
    'box_mask',
    'clipped_box',
    'minmax_box',
    'scaled_box',
    'swap_box',
    'swapped_patches',
]
