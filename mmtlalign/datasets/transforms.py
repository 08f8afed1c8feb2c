"""Pipeline steps: faster versions of mmcv's and mmpretrain's, and one of our own.

The faster steps are subclasses, draw their random values by the methods of the parent
and, but for the rounding of the PyTorch backend, make the same pictures.
``tools/benchmarks/benchmark_loader.py`` measures how much they save.
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
    """Record what the random methods of a step return while the context is open.

    (mmcv's ``cache_random_params`` is meant for this, but where a class inherits such
    a method it leaves one more wrapper behind with every use, until the run ends with
    a ``RecursionError``.)

    Args:
        step: Transform of a pipeline.
        *names: Names of its methods that draw random values.

    Yields:
        A dict from the name of a method to its last result, filled as the step runs.
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
    """mmpretrain's ``RandomResizedCrop`` with PyTorch as one more backend.

    PyTorch resizes uint8 pixels with the antialiasing filters of Pillow and SIMD
    instructions, as torchvision does. It rounds the filter weights differently: about
    1 % of the values of a picture differ from Pillow's, by 1 or, rarely, by 2 of 255.

    Args:
        *args: Arguments of mmpretrain's ``RandomResizedCrop``.
        backend (str): ``'torch'``, with ``interpolation`` ``'bilinear'`` or
            ``'bicubic'``, or mmpretrain's ``'cv2'`` or ``'pillow'``. Defaults to
            ``'cv2'``.
        **kwargs: Arguments of mmpretrain's ``RandomResizedCrop``.

    Raises:
        InputError: The backend or its interpolation is not known.
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
        # A flipped picture has negative strides, which torch does not take.
        crop = np.ascontiguousarray(img[top : top + height, left : left + width])
        # As a batch in channels-last order, which PyTorch keeps in the output.
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
    """mmcv's ``RandomFlip`` with the picture flipped by OpenCV.

    mmcv makes a view with negative strides, which every later step that needs a
    contiguous array copies at thirty times the cost.

    Args:
        **kwargs: Arguments of mmcv's ``RandomFlip``.
    """

    def _flip(self, results: dict) -> None:
        """Flip ``results['img']``, (H, W, C) or (H, W), and what else mmcv flips."""
        img = results['img']
        super()._flip(results)
        # The same picture as mmcv's view, but contiguous.
        axis = dict(horizontal=1, vertical=0, diagonal=-1)[results['flip_direction']]
        results['img'] = cv2.flip(img, axis)


# All values of a byte, as a picture (1, 256, 3).
RAMP = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)


def auto_contrast_table(img: np.ndarray) -> np.ndarray:
    """Return mmcv's ``auto_contrast`` as a lookup table (1, 256, 3)."""
    # Axis by axis: over both at once takes fifty times as long.
    low, high = img.min(0).min(0).astype(float), img.max(0).max(0).astype(float)
    flat = high <= low
    scale = 255 / np.where(flat, 1, high - low)
    table = (RAMP * scale - low * scale).clip(0, 255).astype(np.uint8)
    return np.where(flat, RAMP, table)


def equalize_table(img: np.ndarray) -> np.ndarray:
    """Return mmcv's ``imequalize`` as a lookup table (1, 256, 3)."""
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
    """Return mmcv's ``adjust_contrast`` as a lookup table (1, 256, 3)."""
    grey = cv2.cvtColor(img, cv2.COLOR_BGR2GRAY)
    mean = round(cv2.sumElems(grey)[0] / grey.size)
    ramp = RAMP.astype(np.float32)
    mixed = cv2.addWeighted(ramp, factor, np.full_like(ramp, mean), 1 - factor, 0)
    return mixed.clip(0, 255).astype(np.uint8)


def draw_table(step: BaseTransform, img: np.ndarray) -> np.ndarray | None:
    """Draw the random values of a policy, and return its lookup table (1, 256, 3).

    Args:
        step: One of :data:`BY_TABLE`.
        img: (H, W, 3) uint8.

    Returns:
        The table; None if the policy is not applied this time.
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


# Policies that need image statistics, for which NumPy takes more than a millisecond.
BY_TABLE = (auto_augment.AutoContrast, auto_augment.Contrast, auto_augment.Equalize)


@TRANSFORMS.register_module()
class RandAugment(host.RandAugment):
    """mmpretrain's ``RandAugment`` with faster policies for contrast.

    ``AutoContrast``, ``Contrast`` and ``Equalize`` are applied by a lookup table of 256
    values. Random values are drawn as by mmpretrain, in the same order, and pixels are
    the same.

    Args:
        *args: Arguments of mmpretrain's ``RandAugment``.
        **kwargs: Arguments of mmpretrain's ``RandAugment``.
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
    """Replace ids of a label map by the id that mmseg neither learns nor scores.

    Losses, crops, padding and ``IoUMetric`` of mmseg all ignore 255 by default. With
    ``ignore_index=11`` instead, each of them would have to be set, and one that was
    forgotten would count void as a mistake. Place it after ``LoadAnnotations``, in the
    pipelines of training, test and test-time augmentation.

    Args:
        labels (Sequence[int]): Ids to replace, as in the output of ``LoadAnnotations``
            (after ``reduce_zero_label``), such as ``(11,)`` for CamVid.
        ignore_index (int): The id that replaces them. Defaults to 255.

    Raises:
        InputError: There are no labels, or they are not integers.
    """

    def __init__(self, labels: Sequence[int], ignore_index: int = 255):
        if not labels:
            raise InputError(
                f'labels={labels!r} ignores nothing; name the ids, or remove '
                'IgnoreLabels from the pipeline'
            )
        if not all(isinstance(label, int) for label in labels):
            raise InputError(
                f'labels={labels!r} of IgnoreLabels are not ids; give integers'
            )
        self.labels = tuple(labels)
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        """Change ``results['gt_seg_map']``, (H, W) uint8, if the sample has a map.

        Raises:
            InputError: The label map is not loaded yet.
        """
        if 'gt_seg_map' not in results:
            if results.get('seg_map_path'):
                raise InputError(
                    'IgnoreLabels comes before LoadAnnotations in the pipeline, so '
                    'there is no label map yet; place it after'
                )
            return results  # an inferencer has pictures alone
        label_map = results['gt_seg_map']
        label_map[np.isin(label_map, self.labels)] = self.ignore_index
        return results

    def __repr__(self) -> str:
        return f'IgnoreLabels({self.labels}, ignore_index={self.ignore_index})'
