"""Pipeline steps for any method: faster ones of the hosts, and ignored labels."""

from mmtlalign.datasets.transforms import (
    IgnoreLabels,
    RandAugment,
    RandomFlip,
    RandomResizedCrop,
)

__all__ = ['IgnoreLabels', 'RandAugment', 'RandomFlip', 'RandomResizedCrop']
