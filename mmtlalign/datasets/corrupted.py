"""ImageNet-C and CIFAR-C: test pictures by corruption and severity."""

import os.path as osp
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.fileio import isdir, list_dir_or_file
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import (
    CIFAR10_CATEGORIES,
    CIFAR100_CATEGORIES,
    IMAGENET_CATEGORIES,
)
from PIL import Image

from mmtlalign.compat.wrappers import flat_steps
from mmtlalign.datasets.class_folders import ClassFolders
from mmtlalign.errors import InputError, some_of
from mmtlalign.registry import DATASETS

CORRUPTIONS = (
    *('gaussian_noise', 'shot_noise', 'impulse_noise', 'defocus_blur', 'glass_blur'),
    *('motion_blur', 'zoom_blur', 'snow', 'frost', 'fog', 'brightness', 'contrast'),
    *('elastic_transform', 'pixelate', 'jpeg_compression'),
)
SEVERITIES = (1, 2, 3, 4, 5)
SIDE = 224
# Number of pictures of ImageNet-C whose size is checked.
CHECKED = 8


@DATASETS.register_module()
class ImageNetC(ClassFolders):
    """ImageNet-C: ImageNet's validation pictures, corrupted (ICLR 2019).

    They are cropped to 224 pixels already: the pipeline must not resize and crop again.
    Samples have the fields ``corruption`` and ``severity``, which
    ``PackInputs(meta_keys=('corruption', 'severity'))`` passes to
    ``mmtlalign.CorruptionError``.

    Args:
        data_root (str): Folder with a folder for each corruption, or with the groups
            of the archives (``noise``, ``blur``, …) that contain these. Defaults to
            'data/imagenet-c'.
        corruption (str | Sequence[str]): One or several. Defaults to the 15 that the
            mean corruption error averages.
        severity (int | Sequence[int]): One or several of 1 to 5. Defaults to all.
        allow_missing (bool): Whether classes without a picture are allowed. Defaults
            to False.
        **kwargs: Arguments of mmpretrain's ``BaseDataset``.

    Raises:
        InputError: A corruption, severity or class is missing, pictures are not
            224x224, or the pipeline resizes and crops them.
    """

    METAINFO = dict(classes=IMAGENET_CATEGORIES, dataset_name='ImageNet-C')
    title = 'ImageNet-C'

    def __init__(
        self,
        data_root: str = 'data/imagenet-c',
        corruption: str | Sequence[str] = CORRUPTIONS,
        severity: int | Sequence[int] = SEVERITIES,
        **kwargs: Any,
    ):
        self.cells = cells(corruption, severity)
        super().__init__(data_root=data_root, **kwargs)

    def folders(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Iterate over the folders of corruptions and severities."""
        self.check_pipeline()
        for corruption, severity in self.cells:
            part = f'{corruption}/{severity}'
            groups = ['', *groups_of(self.data_root)]
            places = [osp.join(self.data_root, group, part) for group in groups]
            found = [path for path in places if isdir(path)]
            if not found:
                raise InputError(
                    f"'{self.data_root}' has no {part}, nor has one of the folders in "
                    f'it ({some_of(groups[1:])}); unpack the archive that holds '
                    f'{corruption}, or name other corruptions and severities'
                )
            yield found[0], dict(corruption=corruption, severity=severity)

    def load_data_list(self) -> list[dict]:
        """List the pictures, and open some of them to check their size."""
        infos = super().load_data_list()
        for number in np.linspace(0, len(infos) - 1, CHECKED).astype(int):
            path = infos[number]['img_path']
            if '://' in path:
                continue
            with Image.open(path) as picture:
                size = picture.size
            if size != (SIDE,) * 2:
                raise InputError(
                    f"'{path}' is {size[0]}x{size[1]}, but all images of ImageNet-C "
                    f'are {SIDE}x{SIDE}, cropped already; take the published archives, '
                    'or mmtlalign.Corrupt for images of your own'
                )
        return infos

    def check_pipeline(self) -> None:
        """Check that pictures are not resized and cropped a second time.

        Raises:
            InputError: The pipeline does both.
        """
        steps = [type(step).__name__ for step in flat_steps(self.pipeline)]
        resizes = [name for name in steps if 'Resize' in name]
        if resizes and any('Crop' in name for name in steps):
            raise InputError(
                f'the pipeline of ImageNet-C has {resizes[0]} and a crop, but its '
                'images are already resized and cropped to 224; keep only '
                f'CenterCrop(crop_size={SIDE})'
            )


@DATASETS.register_module()
class CIFARC(BaseDataset):
    """CIFAR-10-C or CIFAR-100-C: CIFAR's test pictures, corrupted, in RGB.

    Samples have the fields ``corruption`` and ``severity``, like those of
    ``mmtlalign.ImageNetC``.

    Args:
        data_root (str): Folder with ``<corruption>.npy`` and ``labels.npy``. Defaults
            to 'data/cifar10-c'.
        corruption (str | Sequence[str]): One or several. Defaults to the 15 of
            ImageNet-C.
        severity (int | Sequence[int]): One or several of 1 to 5. Defaults to all.
        num_classes (int): 10 or 100. Defaults to 10.
        **kwargs: Arguments of mmpretrain's ``BaseDataset``.

    Raises:
        InputError: A file is missing, has another shape, or has labels beyond
            ``num_classes``.
    """

    METAINFO = dict(dataset_name='CIFAR-C')

    def __init__(
        self,
        data_root: str = 'data/cifar10-c',
        corruption: str | Sequence[str] = CORRUPTIONS,
        severity: int | Sequence[int] = SEVERITIES,
        num_classes: int = 10,
        **kwargs: Any,
    ):
        self.cells = cells(corruption, severity)
        names = {10: CIFAR10_CATEGORIES, 100: CIFAR100_CATEGORIES}.get(num_classes)
        if names is None:
            raise InputError(f'num_classes={num_classes} of CIFARC: choose 10 or 100')
        metainfo = dict(classes=names) | dict(kwargs.pop('metainfo', None) or {})
        super().__init__(ann_file='', data_root=data_root, metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the pictures of each corruption and severity; none is read yet."""
        labels = self.load('labels')
        if labels.ndim != 1 or not len(labels) or len(labels) % len(SEVERITIES):
            raise InputError(
                f"'{self.data_root}/labels.npy' has shape {labels.shape}, but needs "
                'one block of labels for each of 5 severities; unpack it again'
            )
        if labels.max() >= len(self.CLASSES):
            raise InputError(
                f"'{self.data_root}/labels.npy' has labels up to {labels.max()}, but "
                f'num_classes={len(self.CLASSES)}; set num_classes of CIFARC'
            )
        size, infos = len(labels) // len(SEVERITIES), []
        for corruption, severity in self.cells:
            images = self.load(corruption)
            block = range((severity - 1) * size, severity * size)
            if images.shape != (len(labels), 32, 32, 3) or images.dtype != np.uint8:
                raise InputError(
                    f"'{self.data_root}/{corruption}.npy' is {images.shape} "
                    f'{images.dtype}, not {(len(labels), 32, 32, 3)} uint8 as '
                    'labels.npy requires; unpack it again'
                )
            fields = dict(corruption=corruption, severity=severity)
            infos += [dict(fields, place=n, gt_label=int(labels[n])) for n in block]
        return infos

    def get_data_info(self, idx: int) -> dict:
        """Return a sample with its picture ``img``, (32, 32, 3) uint8."""
        info = super().get_data_info(idx)
        info['img'] = np.array(self.load(info['corruption'])[info['place']])
        return info

    def load(self, name: str) -> np.ndarray:
        """Open an array file as a memory map."""
        path = osp.join(self.data_root, f'{name}.npy')
        try:
            return np.load(path, mmap_mode='r')
        except (OSError, ValueError) as error:
            raise InputError(
                f"'{path}' cannot be read ({error}); unpack CIFAR-10-C.tar there, or "
                'correct data_root and corruption'
            ) from error


def cells(
    corruption: str | Sequence[str], severity: int | Sequence[int]
) -> list[tuple[str, int]]:
    """Return each pair of a corruption and a severity.

    Raises:
        InputError: A severity is not 1 to 5, or there is no pair.
    """
    names = [corruption] if isinstance(corruption, str) else list(corruption)
    levels = [severity] if isinstance(severity, int) else list(severity)
    if not names or not levels or not set(levels) <= set(SEVERITIES):
        raise InputError(
            f'corruption={corruption!r}, severity={severity!r}: name at least one '
            'corruption, and severities of 1 to 5'
        )
    return [(name, level) for name in names for level in levels]


def groups_of(folder: str) -> list[str]:
    """Return the names of the folders in a folder; [] if it does not exist."""
    return sorted(list_dir_or_file(folder, list_file=False)) if isdir(folder) else []
