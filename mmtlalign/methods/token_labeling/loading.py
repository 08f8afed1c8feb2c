"""The step of a pipeline that attaches the label map of an image."""

import os
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.label_map import (
    LabelMap,
    hard_label_map,
    index_dtype,
)
from mmtlalign.methods.token_labeling.official import OfficialLabelMaps
from mmtlalign.methods.token_labeling.store import FACTS, LabelMapStore, MissingMapError
from mmtlalign.registry import TRANSFORMS

MISSING = ('error', 'skip', 'hard label')


def open_label_maps(
    root: str, num_classes: int, class_names: Sequence[str] | None = None
):
    """A store of this package, or a folder of official ``.pt`` files.

    Args:
        root: Its folder.
        num_classes: Classes of the annotator.
        class_names: Their names, compared with those of a store; ``.pt`` files have
            none. Defaults to None: not compared.

    Returns:
        LabelMapStore | OfficialLabelMaps: Maps by relative path.
    """
    if os.path.exists(os.path.join(root, FACTS)):
        return LabelMapStore(root, num_classes, class_names)
    if class_names is not None:
        raise InputError(
            f'{root} is no store of this package, and .pt files do not say which '
            'classes they mean: leave class_names out.'
        )
    return OfficialLabelMaps(root, num_classes)


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
        self.table = None if class_ids is None else renumber(class_ids, num_classes)
        self.num_classes = num_classes if class_ids is None else len(class_ids)
        self._shape = None

    def transform(self, results: dict) -> dict | None:
        """Add the map; None where the image is to be skipped."""
        try:
            found = self.maps[self.name(results['img_path'])]
            if self.table is not None:
                found = self.translate(found)
        except MissingMapError:
            if self.missing == 'error':
                raise
            if self.missing == 'skip':
                return None
            found = self.hard_label(int(results['gt_label']))
        results['label_map_values'], results['label_map_indices'] = found
        results['label_map_box'] = np.array([0, 0, 1, 1], np.float32)
        return results

    def name(self, path: str) -> str:
        """The path of an image below the root, with forward slashes."""
        path = os.path.normpath(path)
        below = self.image_root + os.sep
        if not path.startswith(below):
            raise InputError(
                f'{path} is not below image_root={self.image_root!r}: name the folder '
                'that the maps were made for.'
            )
        return path[len(below) :].replace(os.sep, '/')

    def translate(self, found: LabelMap) -> LabelMap:
        """From the classes of the annotator to those of the data set."""
        indices = self.table[found.indices]
        known = indices >= 0
        # What is left out says class 0 with value 0, as it were absent.
        return LabelMap(
            np.where(known, found.values, np.float16(0)), np.where(known, indices, 0)
        )

    def hard_label(self, label: int) -> LabelMap:
        """The map that stands in for one that is missing."""
        if self._shape is None:
            self._shape = self.maps.shape
        made = hard_label_map(label, self._shape)
        # Maps of a batch are stacked, so they are of one type.
        dtype = (
            index_dtype(self.maps.num_classes)
            if self.table is None
            else self.table.dtype
        )
        return LabelMap(made.values, made.indices.astype(dtype))

    def __repr__(self) -> str:
        return (
            f'LoadLabelMap({str(self.maps.root)!r}, image_root={self.image_root!r}, '
            f'num_classes={self.maps.num_classes}, missing={self.missing!r})'
        )


def renumber(class_ids: Sequence[int], num_classes: int) -> np.ndarray:
    """(num_classes,): the place of each class in ``class_ids``, -1 for others."""
    ids = np.asarray(class_ids)
    if len(set(class_ids)) < len(ids) or not all(0 <= i < num_classes for i in ids):
        raise InputError(
            f'class_ids={list(class_ids)}: give each class of the data set another '
            f"of the annotator's, 0 to {num_classes - 1}."
        )
    table = np.full(num_classes, -1, index_dtype(num_classes))
    table[ids] = np.arange(len(ids))
    return table
