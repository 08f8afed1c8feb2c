"""Pipeline steps for any method, and (in `seg_dataset`, which needs mmseg) data."""

from mmtlalign.datasets.transforms import (
    IgnoreLabels,
    RandAugment,
    RandomFlip,
    RandomResizedCrop,
)

__all__ = ['IgnoreLabels', 'RandAugment', 'RandomFlip', 'RandomResizedCrop']
