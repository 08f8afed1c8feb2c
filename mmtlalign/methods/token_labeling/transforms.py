"""Pipeline steps that load the label map of an image and take it along.

What flips, warps or crops an image is the host's own step, as
:mod:`mmtlalign.datasets.transforms` has it. The random parameters are recorded while it
runs, so that image and map cannot differ.
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
from mmtlalign.methods.token_labeling.official import open_label_maps
from mmtlalign.methods.token_labeling.store import MissingMapError
from mmtlalign.registry import TRANSFORMS

MISSING = ('error', 'skip', 'hard label')
# Policies of RandAugment that change where things are in the image.
GEOMETRIC = (auto_augment.Rotate, auto_augment.Shear, auto_augment.Translate)


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Attach the label map of an image, and the part of it the image shows: all.

    Place it before anything that moves or crops, and use the steps that take the
    map along: ``mmtlalign.FlipWithMap``, ``mmtlalign.RandAugmentWithMap`` and
    ``mmtlalign.RandomResizedCropWithMap``.

    **Required keys:** ``img_path``; ``gt_label`` for ``missing='hard label'``.

    **Added keys:** ``label_map_values`` (k, h, w) float16, ``label_map_indices``
    (k, h, w) int16 or int32, ``label_map_box`` (4,) float32: top, left, height and
    width as shares of the image.

    Args:
        root (str): A store (``store.json``), or a folder of official ``.pt`` files.
        image_root (str): The folder that the paths of the maps are relative to,
            such as ``data/imagenet/train``.
        num_classes (int): Classes of the annotator.
        class_names (Sequence[str], optional): Their names; must be those of the
            store. Defaults to None: not compared.
        class_ids (Sequence[int], optional): The annotator's class for each class of
            the data set, in order; others are left out. Defaults to None: the same
            classes.
        missing (str): If an image has no map: ``'error'`` names it, ``'skip'`` has
            the data set draw another image, ``'hard label'`` says the label in every
            cell. Defaults to ``'error'``.

    Attributes:
        num_classes (int): Classes of the maps it attaches.

    Raises:
        InputError: For a wrong setting, or a map that is missing or damaged.
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
        """Add the map; None where the image is to be skipped."""
        try:
            label_map = self.translate(self.maps[self.name(results['img_path'])])
        except MissingMapError:
            if self.missing == 'error':
                raise
            if self.missing == 'skip':
                return None
            # Maps of a batch are stacked, so they are of one type.
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
                f'{path} is not below image_root={self.image_root!r}: name the folder '
                'that the maps were made for.'
            )
        return path[len(below) :].replace(os.sep, '/')

    def translate(self, label_map: LabelMap) -> LabelMap:
        """Renumber the classes of the annotator as those of the data set."""
        if self.table is None:
            return label_map
        indices = self.table[label_map.indices]
        known = indices >= 0
        # What is left out says class 0 with value 0, as it were absent.
        values = np.where(known, label_map.values, np.float16(0))
        return LabelMap(values, np.where(known, indices, 0))

    def __repr__(self) -> str:
        return (
            f'LoadLabelMap({str(self.maps.root)!r}, image_root={self.image_root!r}, '
            f'num_classes={self.maps.num_classes}, missing={self.missing!r})'
        )


def class_table(class_ids: Sequence[int], num_classes: int) -> np.ndarray:
    """Return the place of each class in ``class_ids`` (num_classes,), or -1."""
    ids = np.asarray(class_ids)
    if len(set(class_ids)) < len(ids) or not all(0 <= i < num_classes for i in ids):
        raise InputError(
            f'class_ids={list(class_ids)}: give each class of the data set another '
            f"of the annotator's, 0 to {num_classes - 1}."
        )
    table = np.full(num_classes, -1, index_dtype(num_classes))
    table[ids] = np.arange(len(ids))
    return table


def get_label_map(results: dict, step: str) -> tuple[LabelMap, np.ndarray]:
    """Return the map of an image, and the box (4,) of what the image shows of it."""
    try:
        planes = results['label_map_values'], results['label_map_indices']
        return LabelMap(*planes), results['label_map_box']
    except KeyError as error:
        raise InputError(
            f'{step} finds no {error} in the sample: place mmtlalign.LoadLabelMap '
            'before it.'
        ) from error


def set_label_map(results: dict, label_map: LabelMap, box: np.ndarray) -> dict:
    """Put a map and its box (4,) into the sample."""
    results['label_map_values'], results['label_map_indices'] = label_map
    results['label_map_box'] = box
    return results


@TRANSFORMS.register_module()
class FlipWithMap(RandomFlip):
    """``mmtlalign.RandomFlip`` with the label map; before or after a crop."""

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
    """``mmtlalign.RandomResizedCrop``; the map stays whole, its box shrinks."""

    def transform(self, results: dict) -> dict:
        """Crop and resize the image, and keep which part of the map it shows."""
        label_map, box = get_label_map(results, 'RandomResizedCropWithMap')
        size = results['img'].shape[:2]
        with record_random_params(self, 'rand_crop_params') as params:
            results = super().transform(results)
        box = crop_box(box, params['rand_crop_params'], size)
        return set_label_map(results, label_map, box)


@TRANSFORMS.register_module()
class RandAugmentWithMap(RandAugment):
    """``mmtlalign.RandAugment``: what rotates, shears or shifts takes the map.

    It comes before a crop, in the order of Token Labeling (flip, RandAugment, crop).

    Args:
        *args: As of mmpretrain's ``RandAugment``.
        legacy_geometry (bool): Transform the map as the official code, half a cell
            off and blind to the shape of the image. Defaults to False: as the image.
        **kwargs: As of mmpretrain's ``RandAugment``.

    Raises:
        InputError: A policy that is not of mmpretrain's file of policies: whether it
            moves the image is not known.
    """

    def __init__(self, *args: Any, legacy_geometry: bool = False, **kwargs: Any):
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
        """Transform the map as a policy did an image of this size (rows, columns)."""
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
            # mmcv says where a pixel goes, the official code where it comes from.
            return legacy_affine_map(label_map, kind, -amount)
        return affine_map(label_map, matrix, size)
