"""ReLabel: the label of an image is what its map says of the crop.

CVPR 2021, arXiv 2101.05022.
"""

import numpy as np
from mmcv.transforms import BaseTransform

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.loss import smooth_soft_labels_official
from mmtlalign.methods.token_labeling.pooling import pool_crop
from mmtlalign.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ReLabel(BaseTransform):
    """Pool the map of an image over its crop to one soft label.

    Any classifier takes it: ``PackInputs`` packs ``gt_score`` of its own accord, and
    mmpretrain's data preprocessor prefers it to the one-hot label, also where a
    batch is mixed afterwards. Train with a loss for soft labels, such as
    ``dict(type='CrossEntropyLoss', use_soft=True)``. Place it after the last crop. A
    flip that comes later, of the host or ``mmtlalign.FlipWithMap``, changes nothing.

    Classes that the map does not name have logit 0 before the softmax, so a crop
    of which it says nothing, as where ``class_ids`` of ``LoadLabelMap`` leaves all
    its classes out, has the same share of each class. An image without a map, with
    ``missing='hard label'``, has its label alone.

    **Added keys:** ``gt_score`` (K,) float32.

    Args:
        num_classes (int): K, classes of the data set.
        smoothing (float): Label smoothing s. A soft label p becomes
            p (1 - s + s/K) + s/K, which sums to 1 + s/K, as in the official code of
            Token Labeling; ReLabel itself has none. Defaults to 0.
        legacy_axis_order (bool): As the released code, which exchanges rows and
            columns of the crop. Defaults to False.

    Raises:
        InputError: For a wrong setting, no map, or a map with other classes.
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
                f'smoothing={smoothing}: it lies between 0 and 1, 0.1 is usual'
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
