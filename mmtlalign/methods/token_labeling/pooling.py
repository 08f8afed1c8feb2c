"""Transform that pools a label map over the crop of its image to labels.

Shapes: ``K`` classes, ``C`` classes in a map, ``k`` classes kept for a token, ``h, w``
token rows and columns.
"""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.geometry import pool_named_classes
from mmtlalign.methods.token_labeling.transforms import get_label_map
from mmtlalign.registry import TRANSFORMS


def pool_crop(
    results: dict,
    step: str,
    num_classes: int,
    sizes: Sequence[tuple[int, int]],
    legacy_axis_order: bool = False,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Pool the map of a sample over its crop, as :func:`pool_named_classes` does.

    Args:
        results: Sample of a pipeline, with a label map.
        step: Name of the calling transform, for messages.
        num_classes: Number of classes K of the data set.
        sizes: Rows and columns of each grid over the crop.
        legacy_axis_order: Exchange rows and columns of the crop.

    Returns:
        The C classes in the map, and their logits (C, rows, columns) for each size.

    Raises:
        InputError: There is no map, or it has other classes.
    """
    label_map, box = get_label_map(results, step)
    highest = label_map.indices.max()
    if highest >= num_classes:
        raise InputError(
            f'{results.get("img_path", "an image")} has a label map with class '
            f'{highest}, but {step} has num_classes={num_classes}: use maps of '
            'these classes, or class_ids in LoadLabelMap.'
        )
    return pool_named_classes(label_map, box, num_classes, sizes, legacy_axis_order)


@TRANSFORMS.register_module()
class PoolLabelMap(BaseTransform):
    """Pool the map of an image over its crop to labels of the tokens and of the crop.

    Place it last, before ``PackInputs`` with
    ``algorithm_keys=('gt_label_map', 'gt_label_map_index', 'gt_map_label')``.

    **Added keys**, logits: ``gt_map_label`` (K,) of the crop and ``gt_label_map``
    (K, h, w) of its tokens, float32; with ``topk`` the latter is (k, h, w), and
    ``gt_label_map_index`` (k, h, w), int32, has their classes, -1 for unused ones.

    Args:
        size (int | tuple[int, int]): Rows and columns of the tokens.
        num_classes (int): Number of classes K of the data set.
        topk (int, optional): Keep the k largest logits of each token, which makes a
            sample of 1000 classes 50 times smaller (k = 10). Defaults to None: all.
        legacy_axis_order (bool): Whether to exchange rows and columns of the crop, as
            the released Token Labeling code does. Defaults to False.

    Raises:
        InputError: A setting is invalid, or a map has other classes.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        num_classes: int,
        topk: int | None = None,
        legacy_axis_order: bool = False,
    ):
        sides = (size, size) if isinstance(size, int) else tuple(size)
        if len(sides) != 2 or min(sides) < 1:
            raise InputError(f'size={size}: give the rows and columns of the tokens')
        self.size = sides
        if topk is not None and not 0 < topk <= num_classes:
            raise InputError(f'topk={topk}: give 1 to num_classes={num_classes}')
        self.num_classes = num_classes
        self.topk = topk
        self.legacy_axis_order = legacy_axis_order

    def transform(self, results: dict) -> dict:
        """Add the labels of the tokens and of the crop."""
        sizes = self.size, (1, 1)
        classes, (tokens, crop) = pool_crop(
            results, 'PoolLabelMap', self.num_classes, sizes, self.legacy_axis_order
        )
        # A crop may have the classes of all its tokens, so none is left out here.
        results['gt_map_label'] = self._all_classes(crop[:, 0, 0], classes)
        if self.topk is None:
            results['gt_label_map'] = self._all_classes(tokens, classes)
        else:
            values, indices = self._largest(tokens, classes, self.topk)
            results['gt_label_map'], results['gt_label_map_index'] = values, indices
        return results

    def _all_classes(self, pooled: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Expand logits (C, ...) to all classes (K, ...), 0 for the others."""
        full = np.zeros((self.num_classes, *pooled.shape[1:]), np.float32)
        full[classes] = pooled
        return full

    @staticmethod
    def _largest(
        pooled: np.ndarray, classes: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Select the k largest of (C, ...) logits and their classes, each (k, ...)."""
        shape = (k, *pooled.shape[1:])
        values, indices = np.zeros(shape, np.float32), np.full(shape, -1, np.int32)
        count = min(k, len(classes))
        # NumPy would sort all classes, which takes two to three times the time.
        largest, order = torch.from_numpy(pooled).topk(count, dim=0)
        values[:count], indices[:count] = largest.numpy(), classes[order.numpy()]
        return values, indices

    def __repr__(self) -> str:
        return (
            f'PoolLabelMap(size={self.size}, num_classes={self.num_classes}, '
            f'topk={self.topk}, legacy_axis_order={self.legacy_axis_order})'
        )
