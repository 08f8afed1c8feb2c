"""Label maps that mark what is not to be learnt with an id of their own."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from mmtlalign.registry import TRANSFORMS

__all__ = ['IgnoreLabels']


@TRANSFORMS.register_module()
class IgnoreLabels(BaseTransform):
    """Turn ids of a label map into the one that mmseg neither learns nor scores.

    Losses, crops, padding and ``IoUMetric`` of mmseg all leave out 255. With
    ``ignore_index=11`` each of them had to be told, and the one that was not
    would count void as a mistake. Place it after ``LoadAnnotations``, in the
    pipelines of training, test and test-time augmentation.

    Args:
        labels (Sequence[int]): Ids of the label map, as ``LoadAnnotations`` hands
            it on (after ``reduce_zero_label``), such as ``(11,)`` for CamVid.
        ignore_index (int): What they become. Defaults to 255.

    Raises:
        ValueError: If there are no labels.
    """

    def __init__(self, labels: Sequence[int], ignore_index: int = 255):
        if not labels:
            raise ValueError(
                f'labels={labels!r} ignores nothing; name the ids, or remove '
                'IgnoreLabels from the pipeline'
            )
        self.labels = tuple(labels)
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        """Change ``results['gt_seg_map']``, (H, W) uint8."""
        label_map = results['gt_seg_map']
        label_map[np.isin(label_map, self.labels)] = self.ignore_index
        return results

    def __repr__(self) -> str:
        return f'IgnoreLabels({self.labels}, ignore_index={self.ignore_index})'
