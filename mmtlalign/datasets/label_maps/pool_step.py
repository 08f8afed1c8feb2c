"""The step of a pipeline that turns a map and a crop into token labels."""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmtlalign.datasets.label_maps.moves import read_map
from mmtlalign.datasets.label_maps.pooling import pool_grids
from mmtlalign.engine.errors import InputError
from mmtlalign.registry import TRANSFORMS

__all__ = ['PoolLabelMap', 'pool_named']


def pool_named(
    results: dict,
    step: str,
    num_classes: int,
    sizes: Sequence[tuple[int, int]],
    legacy_axis_order: bool = False,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits of the classes that the map of a sample names, pooled over its crop.

    RoIAlign runs over these alone, so a thousand classes cost no more.

    Args:
        results: Of a pipeline, with a label map.
        step: Who asks, for the messages.
        num_classes: K, classes of the data set.
        sizes: Rows and columns of each grid that is laid over the crop.
        legacy_axis_order: As :func:`pool_grids`.

    Returns:
        The C classes, rising, and for each size their logits (C, rows, columns).

    Raises:
        InputError: There is no map, or it names other classes.
    """
    label_map, box = read_map(results, step)
    highest = label_map.indices.max()
    if highest >= num_classes:
        raise InputError(
            f'{results.get("img_path", "an image")} has a label map with class '
            f'{highest}, but {step} has num_classes={num_classes}: use maps of '
            'these classes, or class_ids in LoadLabelMap.'
        )
    # A table of classes, as np.unique would sort the whole map.
    named = np.zeros(num_classes, bool)
    named[label_map.indices] = True
    classes, place = np.flatnonzero(named), named.cumsum() - 1
    planes = label_map.values, place[label_map.indices], box
    batch = [torch.from_numpy(plane)[None] for plane in planes]
    pooled = pool_grids(*batch, len(classes), sizes, legacy_axis_order)
    return classes, [grid[0].numpy() for grid in pooled]


@TRANSFORMS.register_module()
class PoolLabelMap(BaseTransform):
    """Pool the map of an image over its crop: one label a token, one for the crop.

    Place it last, before ``PackInputs`` with
    ``algorithm_keys=('gt_label_map', 'gt_label_map_index', 'gt_map_label')``.

    **Added keys**, logits: ``gt_map_label`` (K,) of the crop and ``gt_label_map``
    (K, h, w) of its tokens, float32; with ``topk`` the latter is (k, h, w), and
    ``gt_label_map_index`` (k, h, w), int32, says which classes these are, -1 where
    fewer are named.

    Args:
        size (int | tuple[int, int]): Rows and columns of the tokens.
        num_classes (int): K, classes of the data set.
        topk (int, optional): Keep the k largest logits of each token, which makes a
            sample of 1000 classes 50 times smaller (k = 10). Defaults to None: all.
        legacy_axis_order (bool): As the released Token Labeling code, which
            exchanges rows and columns of the crop. Defaults to False.

    Raises:
        InputError: For a wrong setting, or a map with other classes.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        num_classes: int,
        topk: int | None = None,
        legacy_axis_order: bool = False,
    ):
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if len(self.size) != 2 or min(self.size) < 1:
            raise InputError(f'size={size}: give the rows and columns of the tokens')
        if topk is not None and not 0 < topk <= num_classes:
            raise InputError(f'topk={topk}: keep 1 to num_classes={num_classes}')
        self.num_classes = num_classes
        self.topk = topk
        self.legacy_axis_order = legacy_axis_order

    def transform(self, results: dict) -> dict:
        """Add the labels of the tokens and of the crop."""
        sizes = self.size, (1, 1)
        classes, (tokens, crop) = pool_named(
            results, 'PoolLabelMap', self.num_classes, sizes, self.legacy_axis_order
        )
        # A crop names all classes of its tokens together, so none is left out here.
        results['gt_map_label'] = self.all_classes(crop[:, 0, 0], classes)
        if self.topk is None:
            results['gt_label_map'] = self.all_classes(tokens, classes)
        else:
            found = self.largest(tokens, classes)
            results['gt_label_map'], results['gt_label_map_index'] = found
        return results

    def all_classes(self, pooled: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Logits (C, ...) among those of all classes (K, ...), 0 elsewhere."""
        full = np.zeros((self.num_classes, *pooled.shape[1:]), np.float32)
        full[classes] = pooled
        return full

    def largest(self, pooled: np.ndarray, classes: np.ndarray):
        """The k largest of (C, ...) logits and their classes, each (k, ...)."""
        shape = (self.topk, *pooled.shape[1:])
        values, indices = np.zeros(shape, np.float32), np.full(shape, -1, np.int32)
        found = min(self.topk, len(classes))
        # NumPy would sort all classes, which takes two to three times as long.
        largest, order = torch.from_numpy(pooled).topk(found, dim=0)
        values[:found], indices[:found] = largest.numpy(), classes[order.numpy()]
        return values, indices

    def __repr__(self) -> str:
        return (
            f'PoolLabelMap(size={self.size}, num_classes={self.num_classes}, '
            f'topk={self.topk}, legacy_axis_order={self.legacy_axis_order})'
        )
