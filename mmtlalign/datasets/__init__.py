"""Steps of pipelines that no host library has."""

from mmtlalign.datasets.transforms import (
    IgnoreLabels,
    RandAugment,
    RandomFlip,
    RandomResizedCrop,
)

__all__ = ['IgnoreLabels', 'RandAugment', 'RandomFlip', 'RandomResizedCrop']
