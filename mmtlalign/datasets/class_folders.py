"""Pictures in class folders, whose label is given by the folder's name."""

import logging
import os.path as osp
from collections.abc import Iterator
from typing import Any

from mmengine.fileio import isdir, list_dir_or_file
from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from mmtlalign.datasets.imagenet_classes import describe_folders, wordnet_ids
from mmtlalign.errors import InputError, some_of

PICTURES = ('.jpg', '.jpeg', '.png')
PREPARE = 'make it with tools/dataset_converters/prepare_data.py'


class ClassFolders(BaseDataset):
    """Pictures in class folders; the label follows from the name, not from the order.

    Args:
        data_root: The folder of the class folders.
        allow_missing: Whether classes without a picture are allowed.
        **kwargs: Arguments of mmpretrain's ``BaseDataset``, such as ``pipeline`` and
            ``indices``.

    Attributes:
        title: Name of the data set.
        images: Published number of images, which is compared; 0 for no comparison.
        others_fine: Whether folders of other classes are ignored; else an error.
        parts_fine: Whether the error of missing classes offers ``allow_missing``.
        source: Where the error of a missing folder says to get it.
    """

    METAINFO = dict(classes=IMAGENET_CATEGORIES)
    extensions = PICTURES
    title = ''
    images = 0
    others_fine = False
    parts_fine = True
    source = PREPARE

    def __init__(self, data_root: str, allow_missing: bool = False, **kwargs: Any):
        self.allow_missing = allow_missing
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def labels(self) -> dict[str, int]:
        """Return the label of each class folder, by its name."""
        return {name: label for label, name in enumerate(wordnet_ids())}

    def folders(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Iterate over (folder of class folders, further fields of its samples)."""
        yield self.data_root, {}

    def load_data_list(self) -> list[dict]:
        """List the pictures by class.

        Raises:
            InputError: The folder is missing, is another data set, or lacks a class.
        """
        infos = []
        for folder, fields in self.folders():
            for name, label in self.find_pictures(folder):
                path = osp.join(folder, name)
                infos.append(dict(img_path=path, gt_label=label, **fields))
        if self.images and len(infos) != self.images:
            print_log(
                f'{self.title} in {self.data_root} has {len(infos):,} images, not '
                f'{self.images:,} as published',
                logger='current',
                level=logging.WARNING,
            )
        return infos

    def find_pictures(self, folder: str) -> list[tuple[str, int]]:
        """Return (name, label) of the pictures below a folder, by label and name."""
        own = self.labels()
        found: dict[str, list[str]] = {}
        for name in list_pictures(folder, self.title, self.source):
            found.setdefault(name.partition('/')[0], []).append(name)
        missing = [] if self.allow_missing else [n for n in own if n not in found]
        other = [] if self.others_fine else sorted(found.keys() - own.keys())
        if missing or other:
            raise InputError(self.explain(folder, missing, other, list(found)))
        return [(n, own[one]) for one in own for n in sorted(found.get(one, ()))]

    def explain(
        self, folder: str, missing: list[str], other: list[str], found: list[str]
    ) -> str:
        """Return the error message for missing or unknown class folders."""
        text = f"'{folder}' is not {self.title}: "
        likeness = describe_folders(found)
        if likeness and likeness != describe_folders(self.labels()):
            return text + (
                f'its {len(found)} class folders look like {likeness}; correct '
                'data_root, or use the data set class for that'
            )
        if other:
            text += (
                f'{some_of(other)} '
                f'{"is not a class" if len(other) == 1 else "are not classes"} '
            )
            text += f'of it (its classes are like {next(iter(self.labels()))}); '
        if missing:
            text += (
                f'of {len(self.labels())} classes {len(missing)} have no image: '
                f'{some_of(missing)}; '
            )
        # With folders of other classes it is another data set, not a broken copy.
        if missing and not other:
            text += 'unpack it again, '
            if self.parts_fine:
                text += 'or set allow_missing=True to use a part of it, '
            text += 'or '
        return text + 'correct data_root'


def list_pictures(folder: str, title: str, source: str = PREPARE) -> list[str]:
    """Return the pictures below a folder, relative to it.

    Raises:
        InputError: The folder is missing, or holds none.
    """
    found: list[str] = []
    if isdir(folder):
        files = list_dir_or_file(folder, list_dir=False, recursive=True)
        found = [name for name in files if name.lower().endswith(PICTURES)]
    found = [n for n in found if not any(p.startswith('.') for p in n.split('/'))]
    if not found:
        what = 'holds no image' if isdir(folder) else 'does not exist'
        raise InputError(
            f"'{folder}', the folder of {title}, {what}; correct data_root "
            f'(--cfg-options data_root=DIR), or {source}'
        )
    return found
