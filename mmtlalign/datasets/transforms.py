"""Pipeline steps: the hosts' own ones in less time, and one that no host has.

The fast steps are the hosts' classes, draw their random values by the hosts' methods
and make the same pictures. How much they save is measured by
``tools/benchmarks/benchmark_loader.py``.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import mmcv.transforms as mmcv_host
import mmpretrain.datasets as host
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.datasets.transforms import auto_augment
from torch.nn.functional import interpolate

from mmtlalign.errors import InputError
from mmtlalign.registry import TRANSFORMS


@contextlib.contextmanager
def record_random_params(step: BaseTransform, *names: str) -> Iterator[dict]:
    """Record what methods of a step that draw at random return meanwhile.

    (mmcv's ``cache_random_params`` is meant for this, but where a class inherits such
    a method it leaves one more wrapper behind with every use, until Python's limit
    of recursion ends the run.)

    Args:
        step: Transform of a pipeline.
        *names: Names of the methods.

    Yields:
        Name of a method to its last result, filled as the step runs.
    """
    params, own = {}, {name: vars(step)[name] for name in names if name in vars(step)}

    def recorder(name: str, draw: Callable) -> Callable:
        def record(*args: Any) -> Any:
            params[name] = draw(*args)
            return params[name]

        return record

    for name in names:
        setattr(step, name, recorder(name, getattr(step, name)))
    try:
        yield params
    finally:
        for name in names:
            delattr(step, name)
        vars(step).update(own)


@TRANSFORMS.register_module()
class RandomResizedCrop(host.RandomResizedCrop):
    """mmpretrain's ``RandomResizedCrop`` with one more backend, PyTorch.

    It resizes bytes with the antialiased filters of Pillow and vector instructions,
    as torchvision does. Weights are rounded otherwise: of the values of a picture
    about 1 % differ from Pillow's, by 1 or, rarely, by 2 of 255.

    Args:
        *args: As of mmpretrain's ``RandomResizedCrop``.
        backend (str): ``'torch'``, with ``interpolation`` ``'bilinear'`` or
            ``'bicubic'``, or as the host's. Defaults to ``'cv2'``, as the host's.
        **kwargs: As of mmpretrain's ``RandomResizedCrop``.

    Raises:
        InputError: For a backend or an interpolation that is not known.
    """

    def __init__(self, *args: Any, backend: str = 'cv2', **kwargs: Any):
        super().__init__(*args, backend=backend, **kwargs)
        if backend not in ('cv2', 'pillow', 'torch'):
            raise InputError(
                f"backend={backend!r}: choose one of 'cv2', 'pillow', 'torch'"
            )
        if backend == 'torch' and self.interpolation not in ('bilinear', 'bicubic'):
            raise InputError(
                f"interpolation={self.interpolation!r}: backend='torch' takes "
                "'bilinear' or 'bicubic'; backend='pillow' takes others"
            )

    def transform(self, results: dict) -> dict:
        """Crop and resize ``results['img']``, (H, W, C) or (H, W) uint8."""
        if self.backend != 'torch':
            return super().transform(results)
        img = results['img']
        top, left, height, width = self.rand_crop_params(img)
        # A copy, as a flipped picture would not become a tensor.
        crop = np.ascontiguousarray(img[top : top + height, left : left + width])
        # With the strides of a batch, PyTorch hands on pixels in the same order.
        batch = torch.from_numpy(crop.reshape(1, height, width, -1))
        batch = interpolate(
            batch.permute(0, 3, 1, 2),
            self.scale,
            mode=self.interpolation,
            antialias=True,
        )
        pixels = batch[0].permute(1, 2, 0).numpy()
        img = pixels.reshape(*self.scale, *img.shape[2:])
        results['img'] = img
        results['img_shape'] = img.shape
        return results


@TRANSFORMS.register_module()
class RandomFlip(mmcv_host.RandomFlip):
    """mmcv's ``RandomFlip``, the picture copied at once by OpenCV.

    The host makes a view with strides below zero, which every later step that needs
    an array in order copies at thirty times the cost.

    Args:
        **kwargs: As of mmcv's ``RandomFlip``.
    """

    def _flip(self, results: dict) -> None:
        """Flip ``results['img']``, (H, W, C) or (H, W), and what else the host does."""
        img = results['img']
        super()._flip(results)
        # As the host has it by now, but in order.
        axis = dict(horizontal=1, vertical=0, diagonal=-1)[results['flip_direction']]
        results['img'] = cv2.flip(img, axis)


# Every value a pixel may have, as a picture, (1, 256, 3).
RAMP = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)


def auto_contrast_table(img: np.ndarray) -> np.ndarray:
    """Return what mmcv's ``auto_contrast`` makes of every value, (1, 256, 3)."""
    # Not in one call, which would take fifty times as long.
    low, high = img.min(0).min(0).astype(float), img.max(0).max(0).astype(float)
    flat = high <= low
    scale = 255 / np.where(flat, 1, high - low)
    table = (RAMP * scale - low * scale).clip(0, 255).astype(np.uint8)
    return np.where(flat, RAMP, table)


def equalize_table(img: np.ndarray) -> np.ndarray:
    """Return what mmcv's ``imequalize`` makes of every value, (1, 256, 3)."""
    table = RAMP.copy()
    for channel in range(3):
        counts = cv2.calcHist([img], [channel], None, [256], [0, 256])[:, 0]
        counts = counts.astype(np.int64)
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        if step:
            sums = (counts.cumsum() + step // 2) // step
            table[0, :, channel] = np.append(0, sums[:-1].clip(max=255))
    return table


def contrast_table(img: np.ndarray, factor: float) -> np.ndarray:
    """Return what mmcv's ``adjust_contrast`` makes of every value, (1, 256, 3)."""
    grey = cv2.cvtColor(img, cv2.COLOR_BGR2GRAY)
    mean = round(cv2.sumElems(grey)[0] / grey.size)
    ramp = RAMP.astype(np.float32)
    mixed = cv2.addWeighted(ramp, factor, np.full_like(ramp, mean), 1 - factor, 0)
    return mixed.clip(0, 255).astype(np.uint8)


def draw_table(step: BaseTransform, img: np.ndarray) -> np.ndarray | None:
    """Draw the table (1, 256, 3) of a policy as the host draws.

    Args:
        step: One of :data:`BY_TABLE`.
        img: (H, W, 3) uint8.

    Returns:
        None if the policy is to leave the image as it is.
    """
    if step.random_disable():
        return None
    if isinstance(step, auto_augment.AutoContrast):
        return auto_contrast_table(img)
    if isinstance(step, auto_augment.Equalize):
        return equalize_table(img)
    amount = step.magnitude
    amount = step.random_magnitude() if amount is None else amount
    return contrast_table(img, 1 + step.random_negative(amount))


# Policies that ask for the histogram, for which NumPy takes more than a millisecond.
BY_TABLE = (auto_augment.AutoContrast, auto_augment.Contrast, auto_augment.Equalize)


@TRANSFORMS.register_module()
class RandAugment(host.RandAugment):
    """mmpretrain's ``RandAugment`` with faster steps that depend on the histogram.

    Automatic contrast, contrast and equalizing are done by a table of the 256 values
    of a byte. Random values are drawn as by the host, in the same order, and pixels
    are the same.

    Args:
        *args: As of mmpretrain's ``RandAugment``.
        **kwargs: As of mmpretrain's ``RandAugment``.
    """

    def transform(self, results: dict) -> dict:
        """Apply as many policies as asked for to ``results['img']``, (H, W, 3)."""
        for index in self.random_policy_indices():
            results = self.apply(self.transforms[index], results)
        return results

    @staticmethod
    def apply(step: BaseTransform, results: dict) -> dict:
        """Apply one policy."""
        img = results['img']
        colour = img.dtype == np.uint8 and img.shape[2:] == (3,)
        if type(step) not in BY_TABLE or not colour:
            return step(results)
        img = np.ascontiguousarray(img)
        table = draw_table(step, img)
        if table is not None:
            results['img'] = cv2.LUT(img, table)
        return results


@TRANSFORMS.register_module()
class IgnoreLabels(BaseTransform):
    """Turn ids of a label map into the one that mmseg neither learns nor scores.

    Losses, crops, padding and ``IoUMetric`` of mmseg all leave out 255. With
    ``ignore_index=11`` each of them had to be told, and the one that was not
    would count void as a mistake. Place it after ``LoadAnnotations``, in the
    pipelines of training, test and test-time augmentation.

    Args:
        labels (Sequence[int]): Ids of the label map, as ``LoadAnnotations`` hands
            it on (after ``reduce_zero_label``), such as ``(11,)`` for CamVid.
        ignore_index (int): What they become. Defaults to 255.

    Raises:
        InputError: If there are no labels.
    """

    def __init__(self, labels: Sequence[int], ignore_index: int = 255):
        if not labels:
            raise InputError(
                f'labels={labels!r} ignores nothing; name the ids, or remove '
                'IgnoreLabels from the pipeline'
            )
        if not all(isinstance(label, int) for label in labels):
            raise InputError(
                f'labels={labels!r} of IgnoreLabels are no ids; name numbers'
            )
        self.labels = tuple(labels)
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        """Change ``results['gt_seg_map']``, (H, W) uint8; a picture alone has none.

        Raises:
            InputError: The label map is not loaded yet.
        """
        if 'gt_seg_map' not in results:
            if results.get('seg_map_path'):
                raise InputError(
                    'IgnoreLabels stands before LoadAnnotations in the pipeline, so '
                    'there is no label map yet; place it behind'
                )
            return results  # of an inferencer
        label_map = results['gt_seg_map']
        label_map[np.isin(label_map, self.labels)] = self.ignore_index
        return results

    def __repr__(self) -> str:
        return f'IgnoreLabels({self.labels}, ignore_index={self.ignore_index})'
