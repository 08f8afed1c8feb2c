"""Mix two images and keep the record of what was done. Plain PyTorch."""

from mmtlalign.mixing.augments import BatchMix, Mixup
from mmtlalign.mixing.cutmix import (
    CutMix,
    ResizeMix,
    box_area,
    box_mask,
    clipped_box,
    minmax_box,
    scaled_box,
)
from mmtlalign.mixing.fmix import FMix
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.mixtoken import MixToken, TokenSwap, swap_box, swap_patches
from mmtlalign.mixing.token_mix import GridMix, TokenBatchMix, TokenCutMix, TokenMix

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
    'swap_patches',
]
