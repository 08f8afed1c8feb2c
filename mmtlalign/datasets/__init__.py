"""Pipeline steps, test sets, and (in `seg_dataset`, which needs mmseg) data sets."""

from mmtlalign.datasets.boxed_objects import BoxedObjects
from mmtlalign.datasets.cifar_folders import CIFAR10Folders
from mmtlalign.datasets.corrupted import CIFARC, ImageNetC
from mmtlalign.datasets.imagenet_variants import (
    ImageNetReaL,
    ImageNetSketch,
    ImageNetSubset,
    ImageNetV2,
)
from mmtlalign.datasets.segmented_objects import SegmentedObjects
from mmtlalign.datasets.transforms import (
    IgnoreLabels,
    RandAugment,
    RandomFlip,
    RandomResizedCrop,
)

__all__ = [
    'CIFAR10Folders',
    'CIFARC',
    'BoxedObjects',
    'IgnoreLabels',
    'ImageNetC',
    'ImageNetReaL',
    'ImageNetSketch',
    'ImageNetSubset',
    'ImageNetV2',
    'RandAugment',
    'RandomFlip',
    'RandomResizedCrop',
    'SegmentedObjects',
]
