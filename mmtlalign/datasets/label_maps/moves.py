"""Steps of a pipeline that move or crop an image, and take its label map along.

Each is the host's own step, as ``fast_steps.py`` has it. What it drew is read while it
runs, so image and map cannot differ.
"""

import contextlib
from collections.abc import Iterator

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.datasets.transforms import auto_augment

from mmtlalign.datasets.fast_steps import RandAugment, RandomFlip, RandomResizedCrop
from mmtlalign.datasets.label_maps.geometry import (
    crop_box,
    flip_box,
    flip_map,
    legacy_move_map,
    move_map,
)
from mmtlalign.datasets.label_maps.label_map import LabelMap
from mmtlalign.engine.errors import InputError
from mmtlalign.registry import TRANSFORMS

__all__ = ['FlipWithMap', 'RandAugmentWithMap', 'RandomResizedCropWithMap']

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
