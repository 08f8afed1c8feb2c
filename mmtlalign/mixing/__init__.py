"""Mixing of images, with a record of what was mixed. Needs only PyTorch."""

from mmtlalign.mixing.augments import BatchMix, Drawn, Mixup
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
from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.mixtoken import MixToken, TokenSwap, swap_box, swap_patches
from mmtlalign.mixing.puzzle import PuzzleMix
from mmtlalign.mixing.salient import AttentiveCutMix, SaliencyMix, SMMix
from mmtlalign.mixing.token_mix import (
    GridMix,
    MaskMix,
    TokenBatchMix,
    TokenCutMix,
    TokenMix,
)

__all__ = [
    'AttentiveCutMix',
    'BatchMix',
    'CutMix',
    'Drawn',
    'FMix',
    'GridMix',
    'GuideOutput',
    'MaskMix',
    'Mix',
    'MixToken',
    'Mixup',
    'PuzzleMix',
    'ResizeMix',
    'SMMix',
    'SaliencyMix',
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
