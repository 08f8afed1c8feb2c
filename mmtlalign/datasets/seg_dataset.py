"""Segmentation data whose pictures may have one of several endings."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

from mmseg.datasets import BaseSegDataset

from mmtlalign.errors import InputError
from mmtlalign.registry import DATASETS


@DATASETS.register_module()
class SegDataset(BaseSegDataset):
    """mmseg's ``BaseSegDataset`` for pictures of several endings.

    Args:
        img_suffix (str | Sequence[str]): Endings of the pictures, such as
            ``('.jpg', '.png')``. Defaults to ``'.jpg'``.
        **kwargs: As of mmseg's ``BaseSegDataset``.

    Raises:
        InputError: A mask has two pictures.
    """

    img_suffix: Any

    def __init__(self, img_suffix: str | Sequence[str] = '.jpg', **kwargs: Any):
        super().__init__(img_suffix=img_suffix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the pictures of all endings, with their masks."""
        endings: str | Sequence[str] = self.img_suffix
        found: dict[str, dict] = {}
        for self.img_suffix in [endings] if isinstance(endings, str) else endings:
            for info in super().load_data_list():
                path = info['img_path']
                several = not isinstance(endings, str)
                if several and self.ann_file and not osp.isfile(path):
                    continue  # a name of the list may have any of the endings
                other = found.setdefault(path.removesuffix(self.img_suffix), info)
                if other['img_path'] != path:
                    raise InputError(
                        f"'{path}' and '{other['img_path']}' are two pictures of one "
                        'mask; keep one'
                    )
        self.img_suffix = endings
        infos = list(found.values())
        return infos if self.ann_file else sorted(infos, key=lambda i: i['img_path'])
