"""Steps of a pipeline that move or crop an image, and take its label map along.

Each is the host's own step, as ``fast_steps.py`` has it. What it drew is read while it
runs, so image and map cannot differ.

The step of a pipeline that turns a map and a crop into token labels.
"""

import contextlib
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.datasets.transforms import auto_augment

from mmtlalign.datasets.transforms import RandAugment, RandomFlip, RandomResizedCrop
from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.geometry import (
    crop_box,
    flip_box,
    flip_map,
    legacy_move_map,
    move_map,
    pool_grids,
)
from mmtlalign.methods.token_labeling.label_map import LabelMap
from mmtlalign.registry import TRANSFORMS

MOVING = (auto_augment.Rotate, auto_augment.Shear, auto_augment.Translate)


def read_map(results: dict, step: str) -> tuple[LabelMap, np.ndarray]:
    """The map of an image and what the image shows of it."""
    try:
        planes = results['label_map_values'], results['label_map_indices']
        return LabelMap(*planes), results['label_map_box']
    except KeyError as error:
        raise InputError(
            f'{step} finds no {error} in the sample: place mmtlalign.LoadLabelMap '
            'before it.'
        ) from error


def write_map(results: dict, label_map: LabelMap, box: np.ndarray) -> dict:
    """Put them back."""
    results['label_map_values'], results['label_map_indices'] = label_map
    results['label_map_box'] = box
    return results


@contextlib.contextmanager
def drawn_by(step: BaseTransform, *names: str) -> Iterator[dict]:
    """What the methods of a step that draw at random give while it is active.

    (mmcv's ``cache_random_params`` is meant for this, but where a class inherits such
    a method it leaves one more wrapper behind with every use, until Python's limit
    of recursion ends the run.)
    """
    drawn, own = {}, {name: vars(step)[name] for name in names if name in vars(step)}

    def recorder(name, draw):
        def record(*args):
            drawn[name] = draw(*args)
            return drawn[name]

        return record

    for name in names:
        setattr(step, name, recorder(name, getattr(step, name)))
    try:
        yield drawn
    finally:
        for name in names:
            delattr(step, name)
        vars(step).update(own)


@TRANSFORMS.register_module()
class FlipWithMap(RandomFlip):
    """``mmtlalign.RandomFlip`` with the label map; before or after a crop."""

    def transform(self, results: dict) -> dict:
        """Flip both, or neither."""
        label_map, box = read_map(results, 'FlipWithMap')
        results = super().transform(results)
        if not results['flip']:
            return results
        direction = results['flip_direction']
        return write_map(
            results, flip_map(label_map, direction), flip_box(box, direction)
        )


@TRANSFORMS.register_module()
class RandomResizedCropWithMap(RandomResizedCrop):
    """``mmtlalign.RandomResizedCrop``; the map stays whole, its box shrinks."""

    def transform(self, results: dict) -> dict:
        """Crop and resize the image, and remember which part it shows."""
        label_map, box = read_map(results, 'RandomResizedCropWithMap')
        image = results['img']
        with drawn_by(self, 'rand_crop_params') as drawn:
            results = super().transform(results)
        crop = drawn['rand_crop_params']
        return write_map(results, label_map, crop_box(box, crop, image.shape[:2]))


@TRANSFORMS.register_module()
class RandAugmentWithMap(RandAugment):
    """``mmtlalign.RandAugment``: what rotates, shears or shifts takes the map.

    It comes before a crop, in the order of Token Labeling (flip, RandAugment, crop).

    Args:
        *args: As ``RandAugment``.
        legacy_geometry (bool): Move the map as the official code, half a cell off
            and blind to the shape of the image. Defaults to False: as the image.
        **kwargs: As ``RandAugment``.

    Raises:
        InputError: A policy that is not of mmpretrain's file of policies: whether it
            moves the image is not known.
    """

    def __init__(self, *args, legacy_geometry: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.legacy_geometry = legacy_geometry
        for step in self.transforms:
            if type(step) not in vars(auto_augment).values():
                raise InputError(
                    f'policy {type(step).__name__} is not known to RandAugmentWithMap: '
                    "it cannot tell how the label map moves. Use mmpretrain's "
                    'policies, or place yours before LoadLabelMap if it only changes '
                    'colours.'
                )

    def transform(self, results: dict) -> dict:
        """Apply as many policies as asked for, to image and map."""
        label_map, box = read_map(results, 'RandAugmentWithMap')
        if not np.array_equal(box, [0, 0, 1, 1]):
            raise InputError(
                f'the image shows only a part of its map, {box.tolist()}: place '
                'RandAugmentWithMap before the crop.'
            )
        for index in self.random_policy_indices():
            step = self.transforms[index]
            if not isinstance(step, MOVING):
                results = self.apply(step, results)
                continue
            size = results['img'].shape[:2]
            with drawn_by(step, 'random_disable', 'random_negative') as drawn:
                results = step(results)
            if not drawn['random_disable']:
                amount = drawn['random_negative']
                label_map = self.move(label_map, step, amount, size)
        return write_map(results, label_map, box)

    def move(
        self, label_map: LabelMap, step, amount: float, size: tuple[int, int]
    ) -> LabelMap:
        """Move the map as a step did the image, by the amount that it drew."""
        if isinstance(step, auto_augment.Rotate):
            kind = 'rotate'
            centre = step.center or ((size[1] - 1) / 2, (size[0] - 1) / 2)
            matrix = cv2.getRotationMatrix2D(centre, -amount, step.scale)
        else:
            horizontal = step.direction == 'horizontal'
            shears = isinstance(step, auto_augment.Shear)
            kind = f'{"shear" if shears else "translate"}_{"xy"[not horizontal]}'
            matrix = np.eye(2, 3)
            if shears:
                matrix[(0, 1) if horizontal else (1, 0)] = amount
            elif horizontal:
                matrix[0, 2] = amount * size[1]
            else:
                matrix[1, 2] = amount * size[0]
        if self.legacy_geometry:
            # mmcv says where a pixel goes, the official code where it comes from.
            return legacy_move_map(label_map, kind, -amount)
        return move_map(label_map, matrix, size)


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
