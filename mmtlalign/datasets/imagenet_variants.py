"""ImageNet-A, -R, -O, -Sketch, V2 and ReaL, for models of ImageNet-1k.

Labels are indices among all 1000 classes, so that a model keeps its head;
:class:`mmtlalign.SubsetAccuracy` scores only the 200 classes of A and R. A folder that
holds another data set, or lacks a class, is an error.
"""

import os.path as osp
import re
from typing import Any

from mmengine.fileio import isdir
from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from mmtlalign.datasets.class_folders import PICTURES, ClassFolders, list_pictures
from mmtlalign.datasets.imagenet_classes import SUBSETS, real_labels, subset_labels
from mmtlalign.errors import InputError
from mmtlalign.registry import DATASETS

V2_VARIANTS = ('matched-frequency', 'threshold0.7', 'top-images')


@DATASETS.register_module()
class ImageNetSubset(ClassFolders):
    """ImageNet-A, -R or -O, of 200 classes each, or ImageNet's own pictures of these.

    Pictures of ImageNet-O show none of the 1000 classes: their list of labels is empty.

    Args:
        which (str): ``'a'``, ``'r'`` or ``'o'``.
        data_root (str, optional): Folder of the class folders. Defaults to None:
            'data/imagenet-a' and so on, or 'data/imagenet/val' with ``clean=True``.
        clean (bool): Whether to read ImageNet's validation pictures of the 200 classes
            instead, which are the reference for A and R, and the in-distribution data
            for O. Defaults to False.
        allow_missing (bool): Whether classes without a picture are allowed. Defaults
            to False.
        **kwargs: Arguments of mmpretrain's ``BaseDataset``.

    Raises:
        InputError: The folder is another data set, or lacks a class.
    """

    def __init__(
        self,
        which: str,
        data_root: str | None = None,
        clean: bool = False,
        **kwargs: Any,
    ):
        self._labels, self.others_fine = subset_labels(which), clean
        self.is_out = which == 'o' and not clean
        self.title, self.images, _ = SUBSETS[which]
        if clean:
            self.title, self.images = f'ImageNet, classes of {self.title}', 10000
        default = 'data/imagenet/val' if clean else f'data/imagenet-{which}'
        super().__init__(data_root=data_root or default, **kwargs)

    def labels(self) -> dict[str, int]:
        """Return the labels of the 200 classes, by WordNet id."""
        return self._labels

    def find_pictures(self, folder: str) -> list[tuple[str, Any]]:
        """Return (name, label) of the pictures; the label is [] for ImageNet-O."""
        found = super().find_pictures(folder)
        return [(name, []) for name, _ in found] if self.is_out else found


@DATASETS.register_module()
class ImageNetSketch(ClassFolders):
    """ImageNet-Sketch: drawings of the 1000 classes (NeurIPS 2019).

    Args:
        data_root (str): Folder of the class folders. Defaults to
            'data/imagenet-sketch'.
        allow_missing (bool): Whether classes without a picture are allowed. Defaults
            to False.
        **kwargs: Arguments of mmpretrain's ``BaseDataset``.

    Raises:
        InputError: The folder is another data set, or lacks a class.
    """

    title = 'ImageNet-Sketch'
    images = 50889

    def __init__(self, data_root: str = 'data/imagenet-sketch', **kwargs: Any):
        super().__init__(data_root=data_root, **kwargs)


@DATASETS.register_module()
class ImageNetV2(ClassFolders):
    """ImageNetV2: new pictures of the 1000 classes (ICML 2019).

    A class folder is named by its label; numbering the folders in alphabetical order
    (0, 1, 10, 100, …) would give wrong labels.

    Args:
        variant (str): ``'matched-frequency'``, ``'threshold0.7'`` or ``'top-images'``.
            Defaults to 'matched-frequency'.
        data_root (str): Folder with ``imagenetv2-<variant>-format-val`` or
            ``imagenetv2-<variant>``, or that folder itself. Defaults to
            'data/imagenetv2'.
        allow_missing (bool): Whether classes without a picture are allowed. Defaults
            to False.
        **kwargs: Arguments of mmpretrain's ``BaseDataset``.

    Raises:
        InputError: The variant is not known or its folder is missing, or a class is
            missing.
    """

    images = 10000

    def __init__(
        self,
        variant: str = 'matched-frequency',
        data_root: str = 'data/imagenetv2',
        **kwargs: Any,
    ):
        if variant not in V2_VARIANTS:
            raise InputError(
                f'variant={variant!r} of ImageNetV2 is not known; choose one of '
                f'{", ".join(V2_VARIANTS)}'
            )
        self.title = f'ImageNetV2 ({variant})'
        names = (f'imagenetv2-{variant}-format-val', f'imagenetv2-{variant}')
        found = [path for n in names if isdir(path := osp.join(data_root, n))]
        kwargs['data_root'] = found[0] if found else data_root
        super().__init__(**kwargs)

    def labels(self) -> dict[str, int]:
        """Return the labels by folder name, which is the label as text."""
        return {str(number): number for number in range(len(self.CLASSES))}


@DATASETS.register_module()
class ImageNetReaL(BaseDataset):
    """ImageNet's validation pictures with the labels of ReaL (arXiv 2006.07159).

    A picture has one or several labels, found by its name; those without any are left
    out, and their number is logged. Evaluate with ``mmtlalign.ReaLAccuracy``.

    Args:
        data_root (str): Folder of the validation pictures, in class folders or not.
            Defaults to 'data/imagenet/val'.
        real_json (str, optional): ``real.json`` of the authors. Defaults to None:
            timm's copy.
        **kwargs: Arguments of mmpretrain's ``BaseDataset``.

    Raises:
        InputError: The name of a picture is not that of a validation picture.
    """

    METAINFO = dict(classes=IMAGENET_CATEGORIES)
    extensions = PICTURES

    def __init__(
        self,
        data_root: str = 'data/imagenet/val',
        real_json: str | None = None,
        **kwargs: Any,
    ):
        self.real_json = real_json
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the pictures that have a label, sorted by file name."""
        labels = real_labels(self.real_json)
        infos, total = [], 0
        paths = list_pictures(self.data_root, "ImageNet's validation set")
        for path in sorted(paths, key=osp.basename):
            name = osp.basename(path)
            number = re.fullmatch(r'ILSVRC2012_val_(\d{8})\.\w+', name)
            if not number or not 1 <= int(number[1]) <= len(labels):
                raise InputError(
                    f"'{osp.join(self.data_root, path)}' does not have the name of one "
                    f"of ImageNet's {len(labels):,} validation images "
                    '(ILSVRC2012_val_00000001.JPEG), by which ReaL labels are looked '
                    'up; correct data_root'
                )
            own, total = labels[int(number[1]) - 1], total + 1
            if own:
                path = osp.join(self.data_root, path)
                infos.append(dict(img_path=path, gt_label=own))
        print_log(
            f'ReaL: {total - len(infos):,} of {total:,} images have no label and are '
            'left out',
            logger='current',
        )
        return infos
