"""Segmentation data whose pictures may have several file name suffixes."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

from mmseg.datasets import BaseSegDataset

from mmtlalign.errors import InputError
from mmtlalign.registry import DATASETS


@DATASETS.register_module()
class SegDataset(BaseSegDataset):
    """mmseg's ``BaseSegDataset`` for pictures with several suffixes.

    Args:
        img_suffix (str | Sequence[str]): Suffixes of the pictures, such as
            ``('.jpg', '.png')``. Defaults to ``'.jpg'``.
        **kwargs: Arguments of mmseg's ``BaseSegDataset``.

    Raises:
        InputError: Two pictures belong to the same mask.
    """

    img_suffix: Any

    def __init__(self, img_suffix: str | Sequence[str] = '.jpg', **kwargs: Any):
        super().__init__(img_suffix=img_suffix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the pictures of all suffixes, with their masks."""
        endings: str | Sequence[str] = self.img_suffix
        found: dict[str, dict] = {}
        for self.img_suffix in [endings] if isinstance(endings, str) else endings:
            for info in super().load_data_list():
                path = info['img_path']
                several = not isinstance(endings, str)
                if several and self.ann_file and not osp.isfile(path):
                    continue  # a picture of the list may have any of the suffixes
                other = found.setdefault(path.removesuffix(self.img_suffix), info)
                if other['img_path'] != path:
                    raise InputError(
                        f"'{path}' and '{other['img_path']}' are two images for the "
                        'same mask; keep one'
                    )
        self.img_suffix = endings
        infos = list(found.values())
        return infos if self.ann_file else sorted(infos, key=lambda i: i['img_path'])
