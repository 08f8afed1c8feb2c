"""Segmentation data whose pictures may have several file name suffixes."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

from mmengine.fileio import exists
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
        InputError: Two pictures belong to the same mask, or a picture of a list exists
            with none of several suffixes.
    """

    img_suffix: Any

    def __init__(self, img_suffix: str | Sequence[str] = '.jpg', **kwargs: Any):
        super().__init__(img_suffix=img_suffix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the pictures of all suffixes, with their masks."""
        endings: str | Sequence[str] = self.img_suffix
        if isinstance(endings, str):
            return super().load_data_list()
        lists = []
        for self.img_suffix in endings:
            lists.append(super().load_data_list())
        self.img_suffix = endings
        if self.ann_file and not osp.isdir(self.ann_file):
            return [self._find_listed(infos) for infos in zip(*lists)]
        found: dict[str, dict] = {}
        for suffix, infos in zip(endings, lists):
            for info in infos:
                path = info['img_path']
                other = found.setdefault(path.removesuffix(suffix), info)
                if other['img_path'] != path:
                    raise two_images(path, other['img_path'])
        return sorted(found.values(), key=lambda info: info['img_path'])

    def _find_listed(self, infos: Sequence[dict]) -> dict:
        """Return the sample whose picture exists, of one line with each suffix."""
        paths = [info['img_path'] for info in infos]
        there = [i for i in infos if exists(i['img_path'], self.backend_args)]
        if not there:
            raise InputError(
                f"'{self.ann_file}' lists an image that does not exist with any of the "
                f'suffixes: {", ".join(paths)}; correct the list, data_prefix or '
                'img_suffix'
            )
        if len(there) > 1:
            raise two_images(*(info['img_path'] for info in there[:2]))
        return there[0]


def two_images(path: str, other: str) -> InputError:
    """Return the error of two pictures with the same mask."""
    return InputError(
        f"'{path}' and '{other}' are two images for the same mask; keep one"
    )
