"""Transforms that load the label map of an image and transform it with the image.

Images are flipped, warped and cropped by mmpretrain's own transforms, in the versions
of :mod:`mmtlalign.datasets.transforms`. Their random parameters are recorded while they
run, so that image and map cannot differ.
"""

import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.datasets.transforms import auto_augment

from mmtlalign.datasets.transforms import (
    RandAugment,
    RandomFlip,
    RandomResizedCrop,
    record_random_params,
)
from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.geometry import (
    LabelMap,
    affine_map,
    crop_box,
    flip_box,
    flip_map,
    hard_label_map,
    index_dtype,
    legacy_affine_map,
)
from mmtlalign.methods.token_labeling.metadata import fingerprint
from mmtlalign.methods.token_labeling.official import open_label_maps
from mmtlalign.methods.token_labeling.store import LabelMapStore, MissingMapError
from mmtlalign.registry import TRANSFORMS

MISSING = ('error', 'skip', 'hard label')
# Policies of RandAugment that move the content of the image.
GEOMETRIC = (auto_augment.Rotate, auto_augment.Shear, auto_augment.Translate)


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Attach the label map of an image, with a box of the whole image.

    Place it before all transforms that move or crop the image, and use the transforms
    that also apply to the map: ``mmtlalign.FlipWithMap``,
    ``mmtlalign.RandAugmentWithMap`` and ``mmtlalign.RandomResizedCropWithMap``.

    **Required keys:** ``img_path``; ``gt_label`` for ``missing='hard label'``.

    **Added keys:** ``label_map_values`` (k, h, w) float16, ``label_map_indices``
    (k, h, w) int16 or int32, ``label_map_box`` (4,) float32: top, left, height and
    width as fractions of the image.

    Args:
        root (str): A store (``store.json``), or a folder of official ``.pt`` files.
        image_root (str): The folder that the paths of the maps are relative to,
            such as ``data/imagenet/train``.
        num_classes (int): Classes of the annotator.
        class_names (Sequence[str], optional): Their names, which must be those of the
            store. Defaults to None: not compared.
        class_ids (Sequence[int], optional): The annotator's class for each class of
            the data set, in order; others are left out. Defaults to None: the same
            classes.
        missing (str): Handling of an image without map: ``'error'`` raises an error,
            ``'skip'`` lets the data set draw another image, ``'hard label'`` sets its
            label in every cell. Defaults to ``'error'``.

    Attributes:
        num_classes (int): Number of classes of the attached maps.

    Raises:
        InputError: A setting is invalid, or a map is missing or damaged.
    """

    def __init__(
        self,
        root: str,
        image_root: str,
        num_classes: int,
        class_names: Sequence[str] | None = None,
        class_ids: Sequence[int] | None = None,
        missing: str = 'error',
    ):
        if missing not in MISSING:
            raise InputError(f'missing={missing!r}: choose one of {MISSING}')
        self.maps = open_label_maps(root, num_classes, class_names)
        self.image_root = os.path.normpath(image_root)
        self.missing = missing
        self.table = None if class_ids is None else class_table(class_ids, num_classes)
        self.num_classes = num_classes if class_ids is None else len(class_ids)

    def transform(self, results: dict) -> dict | None:
        """Add the map; return None to skip the image."""
        try:
            label_map = self.translate(self.maps[self.name(results['img_path'])])
        except MissingMapError:
            if self.missing == 'error':
                raise
            if self.missing == 'skip':
                return None
            # Maps of a batch are stacked, so they need the same type.
            dtype = index_dtype(self.maps.num_classes)
            label = int(results['gt_label'])
            label_map = hard_label_map(label, self.maps.shape, dtype)
        return set_label_map(results, label_map, np.array([0, 0, 1, 1], np.float32))

    def name(self, path: str) -> str:
        """Return the path of an image below ``image_root``, with forward slashes."""
        path = os.path.normpath(path)
        below = self.image_root + os.sep
        if not path.startswith(below):
            raise InputError(
                f'{path} is not below image_root={self.image_root!r}: set image_root '
                'to the folder that the maps were made for.'
            )
        return path[len(below) :].replace(os.sep, '/')

    def fits_classes(self, names: Sequence[str]) -> bool:
        """Return whether maps are of these classes in order; True if not recorded."""
        known = isinstance(self.maps, LabelMapStore) and self.maps.metadata.classes
        return not known or self.table is not None or fingerprint(names) == known

    def translate(self, label_map: LabelMap) -> LabelMap:
        """Map the classes of the annotator to those of the data set."""
        if self.table is None:
            return label_map
        indices = self.table[label_map.indices]
        known = indices >= 0
        # Classes that are left out become class 0 with value 0, as absent ones.
        values = np.where(known, label_map.values, np.float16(0))
        return LabelMap(values, np.where(known, indices, 0))

    def __repr__(self) -> str:
        return (
            f'LoadLabelMap({str(self.maps.root)!r}, image_root={self.image_root!r}, '
            f'num_classes={self.maps.num_classes}, missing={self.missing!r})'
        )


def class_table(class_ids: Sequence[int], num_classes: int) -> np.ndarray:
    """Return the position of each class in ``class_ids``, or -1, (num_classes,)."""
    ids = np.asarray(class_ids)
    if len(set(class_ids)) < len(ids) or not all(0 <= i < num_classes for i in ids):
        raise InputError(
            f'class_ids={list(class_ids)}: give one class of the annotator, 0 to '
            f'{num_classes - 1}, for each class of the data set, none of them twice.'
        )
    table = np.full(num_classes, -1, index_dtype(num_classes))
    table[ids] = np.arange(len(ids))
    return table


def get_label_map(results: dict, step: str) -> tuple[LabelMap, np.ndarray]:
    """Return the map of an image, and the box (4,) of its visible part."""
    try:
        planes = results['label_map_values'], results['label_map_indices']
        return LabelMap(*planes), results['label_map_box']
    except KeyError as error:
        raise InputError(
            f'{step} finds no {error} in the sample: place mmtlalign.LoadLabelMap '
            'before it.'
        ) from error


def set_label_map(results: dict, label_map: LabelMap, box: np.ndarray) -> dict:
    """Store a map and its box (4,) in the sample."""
    results['label_map_values'], results['label_map_indices'] = label_map
    results['label_map_box'] = box
    return results


@TRANSFORMS.register_module()
class FlipWithMap(RandomFlip):
    """``mmtlalign.RandomFlip`` of image and label map, before or after a crop."""

    def transform(self, results: dict) -> dict:
        """Flip both, or neither."""
        label_map, box = get_label_map(results, 'FlipWithMap')
        results = super().transform(results)
        if not results['flip']:
            return results
        direction = results['flip_direction']
        return set_label_map(
            results, flip_map(label_map, direction), flip_box(box, direction)
        )


@TRANSFORMS.register_module()
class RandomResizedCropWithMap(RandomResizedCrop):
    """``mmtlalign.RandomResizedCrop`` that also updates the box of the label map."""

    def transform(self, results: dict) -> dict:
        """Crop and resize the image, and set the box of the map to the crop."""
        label_map, box = get_label_map(results, 'RandomResizedCropWithMap')
        size = results['img'].shape[:2]
        with record_random_params(self, 'rand_crop_params') as params:
            results = super().transform(results)
        box = crop_box(box, params['rand_crop_params'], size)
        return set_label_map(results, label_map, box)


@TRANSFORMS.register_module()
class RandAugmentWithMap(RandAugment):
    """``mmtlalign.RandAugment`` that also rotates, shears and translates the map.

    It comes before a crop, in the order of Token Labeling (flip, RandAugment, crop).

    Args:
        *args: As in mmpretrain's ``RandAugment``.
        legacy_geometry (bool): Whether to transform the map as the official code does,
            half a cell off and without regard to the image's aspect ratio. Defaults to
            False: exactly as the image.
        **kwargs: As in mmpretrain's ``RandAugment``.

    Raises:
        InputError: A policy is not one of mmpretrain's, so that it is unknown whether
            it moves the image.
    """

    def __init__(self, *args: Any, legacy_geometry: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.legacy_geometry = legacy_geometry
        for step in self.transforms:
            if type(step) not in vars(auto_augment).values():
                raise InputError(
                    'RandAugmentWithMap does not support policy '
                    f'{type(step).__name__}: it does not know how this transforms the '
                    "label map. Use mmpretrain's policies, or place yours before "
                    'LoadLabelMap if it only changes colours.'
                )

    def transform(self, results: dict) -> dict:
        """Apply the policies to image and map."""
        label_map, box = get_label_map(results, 'RandAugmentWithMap')
        if not np.array_equal(box, [0, 0, 1, 1]):
            raise InputError(
                f'the image shows only a part of its map, {box.tolist()}: place '
                'RandAugmentWithMap before the crop.'
            )
        for index in self.random_policy_indices():
            step = self.transforms[index]
            if not isinstance(step, GEOMETRIC):
                results = self.apply(step, results)
                continue
            size = results['img'].shape[:2]
            names = 'random_disable', 'random_negative'
            with record_random_params(step, *names) as params:
                results = step(results)
            if not params['random_disable']:
                label_map = self._warp(label_map, step, params['random_negative'], size)
        return set_label_map(results, label_map, box)

    def _warp(
        self,
        label_map: LabelMap,
        step: BaseTransform,
        amount: float,
        size: tuple[int, int],
    ) -> LabelMap:
        """Transform the map as a policy transformed its image.

        Args:
            label_map: The map.
            step: The policy.
            amount: Amount of its transform.
            size: Rows and columns of the image in pixels.
        """
        if isinstance(step, auto_augment.Rotate):
            kind = 'rotate'
            centre = step.center or ((size[1] - 1) / 2, (size[0] - 1) / 2)
            matrix = cv2.getRotationMatrix2D(centre, -amount, step.scale)
        else:
            horizontal = step.direction == 'horizontal'
            shears = isinstance(step, auto_augment.Shear)
            kind = f'{"shear" if shears else "translate"}_{"x" if horizontal else "y"}'
            matrix = np.eye(2, 3)
            if shears:
                matrix[(0, 1) if horizontal else (1, 0)] = amount
            elif horizontal:
                matrix[0, 2] = amount * size[1]
            else:
                matrix[1, 2] = amount * size[0]
        if self.legacy_geometry:
            # mmcv's amount is for source to destination, the official one the inverse.
            return legacy_affine_map(label_map, kind, -amount)
        return affine_map(label_map, matrix, size)
