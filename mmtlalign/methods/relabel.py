"""ReLabel (CVPR 2021, arXiv 2101.05022): labels pooled from a label map of the crop."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.loss import smooth_soft_labels_official
from mmtlalign.methods.token_labeling.pooling import pool_crop
from mmtlalign.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ReLabel(BaseTransform):
    """Pool the label map of an image over its crop to one soft label.

    It works with any classifier: ``PackInputs`` packs ``gt_score`` by default, and
    mmpretrain's data preprocessor prefers it to the one-hot label, also if the batch is
    mixed afterwards. Train with a loss for soft labels, such as
    ``dict(type='CrossEntropyLoss', use_soft=True)``. Place it after the last crop. A
    later flip, of mmpretrain or ``mmtlalign.FlipWithMap``, does not change the label.

    Classes that the map does not contain have logit 0 before the softmax, so that a
    crop without any, for instance if ``class_ids`` of ``LoadLabelMap`` removes all its
    classes, gets a uniform label. An image without a map, allowed with
    ``missing='hard label'``, keeps its hard label.

    **Added keys:** ``gt_score`` (K,) float32.

    Args:
        num_classes (int): Number of classes K of the data set.
        smoothing (float): Label smoothing s. A soft label p becomes
            p (1 - s + s/K) + s/K, which sums to 1 + s/K, as in the official code of
            Token Labeling; ReLabel itself has none. Defaults to 0.
        legacy_axis_order (bool): Whether to exchange rows and columns of the crop, as
            the released code does. Defaults to False.

    Raises:
        InputError: A setting is invalid, or the map is missing or has other classes.
    """

    def __init__(
        self,
        num_classes: int,
        smoothing: float = 0.0,
        legacy_axis_order: bool = False,
    ):
        if num_classes < 1:
            raise InputError(f'num_classes={num_classes}: give at least 1')
        if not 0 <= smoothing < 1:
            raise InputError(
                f'smoothing={smoothing}: give a number from 0 to 1; 0.1 is usual'
            )
        self.num_classes = num_classes
        self.smoothing = smoothing
        self.legacy_axis_order = legacy_axis_order

    def transform(self, results: dict) -> dict:
        """Add the soft label."""
        classes, (pooled,) = pool_crop(
            results, 'ReLabel', self.num_classes, [(1, 1)], self.legacy_axis_order
        )
        logits = np.zeros(self.num_classes, np.float32)
        logits[classes] = pooled[:, 0, 0]
        exp = np.exp(logits - logits.max())
        results['gt_score'] = smooth_soft_labels_official(
            exp / exp.sum(), self.smoothing, self.num_classes
        )
        return results

    def __repr__(self) -> str:
        return (
            f'ReLabel(num_classes={self.num_classes}, smoothing={self.smoothing}, '
            f'legacy_axis_order={self.legacy_axis_order})'
        )
