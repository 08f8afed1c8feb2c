"""Data that no host library has, and steps of their pipelines."""

from mmtlalign.datasets.fast_steps import (
    RandAugment,
    RandomFlip,
    RandomResizedCrop,
)
from mmtlalign.datasets.ignore_labels import IgnoreLabels
from mmtlalign.datasets.label_maps import (
    FlipWithMap,
    LoadLabelMap,
    PoolLabelMap,
    RandAugmentWithMap,
    RandomResizedCropWithMap,
    ReLabel,
)

__all__ = [
    'FlipWithMap',
    'IgnoreLabels',
    'LoadLabelMap',
    'PoolLabelMap',
    'RandAugment',
    'RandAugmentWithMap',
    'RandomFlip',
    'RandomResizedCrop',
    'RandomResizedCropWithMap',
    'ReLabel',
]
