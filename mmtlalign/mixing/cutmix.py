"""CutMix and ResizeMix: one box of pixels comes from the partner.

Boxes are drawn on a grid of pixels or tokens as ``(top, bottom, left, right)``, ends
exclusive. Random numbers come from NumPy's global generator, which mmengine seeds, in
the order of the official code (TL-Align, ICCV 2023; TransMix, CVPR 2022): centre row,
then centre column.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.device import to_device
from mmtlalign.errors import InputError
from mmtlalign.mixing.augments import BatchMix, Drawn
from mmtlalign.mixing.mix import Window, smallest_window

Box = tuple[int, int, int, int]


def clipped_box(size: tuple[int, int], lam: float) -> Box:
    """Draw a box of relative area ``1 - lam`` around a random centre, clipped.

    Half sides are rounded down, so that an unclipped side is always even and
    the box tends to be too small, as in CutMix (ICCV 2019, Algorithm 1) and the
    code that followed it. A side of 0 or 1 gives an empty box.

    Args:
        size: Height and width of the grid.
        lam: Requested share of the own image, 0...1. The actual share is
            ``1 - box_area(box, size)``.
    """
    height, width = size
    ratio = np.sqrt(1 - lam)
    half_h, half_w = int(height * ratio) // 2, int(width * ratio) // 2
    row, column = np.random.randint(height), np.random.randint(width)
    return (
        max(row - half_h, 0),
        min(row + half_h, height),
        max(column - half_w, 0),
        min(column + half_w, width),
    )


def minmax_box(size: tuple[int, int], low: float, high: float) -> Box:
    """Draw a box whose sides are uniform between two fractions, inside the grid.

    Args:
        size: Height and width of the grid.
        low: Smallest side as a fraction of the grid's.
        high: Largest side as a fraction of the grid's, exclusive.

    Raises:
        InputError: A side cannot be drawn, as when ``high <= low``.
    """
    height, width = size
    none = any(int(side * low) >= int(side * high) for side in size)
    if not 0 <= low < high <= 1 or none:
        raise InputError(
            f'cutmix_minmax=({low}, {high}) leaves no box on a grid of '
            f'{height}x{width}: give 0 <= low < high <= 1 that differ by at '
            'least one row and one column.'
        )
    side_h = np.random.randint(int(height * low), int(height * high))
    side_w = np.random.randint(int(width * low), int(width * high))
    top = np.random.randint(0, height - side_h)
    left = np.random.randint(0, width - side_w)
    return top, top + side_h, left, left + side_w


def scaled_box(size: tuple[int, int], scale: float) -> Box:
    """Draw a box of the grid's shape, ``scale`` times its sides, inside the grid.

    Every position is equally likely. Sides are rounded to whole cells, at least one.

    Args:
        size: Height and width of the grid.
        scale: Sides of the box as a fraction of the grid's, 0...1.
    """
    sides = [max(round(side * scale), 1) for side in size]
    top, left = (np.random.randint(n - side + 1) for n, side in zip(size, sides))
    return top, top + sides[0], left, left + sides[1]


def box_mask(box: Box, size: tuple[int, int]) -> np.ndarray:
    """Return ones in the box and zeros around it (height, width), float32."""
    top, bottom, left, right = box
    mask = np.zeros(size, np.float32)
    mask[top:bottom, left:right] = 1
    return mask


def box_area(box: Box, size: tuple[int, int]) -> float:
    """Return the share of the grid that the box covers, 0...1."""
    top, bottom, left, right = box
    return (bottom - top) * (right - left) / (size[0] * size[1])


class CutMix(BatchMix):
    """CutMix (ICCV 2019): a box of pixels comes from the partner.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from. Defaults to 1.0.
        cutmix_minmax (tuple[float, float], optional): Draw the box's sides uniformly
            between these two fractions of the image instead of from ``alpha``.
            Defaults to None.
        **kwargs: ``prob``, ``pairing`` and ``mode`` as in :class:`BatchMix`.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        cutmix_minmax: tuple[float, float] | None = None,
        **kwargs: Any,
    ):
        super().__init__(alpha, **kwargs)
        low, high = cutmix_minmax or (0, 1)
        if not 0 <= low < high <= 1:
            raise InputError(
                f'cutmix_minmax=({low}, {high}): give 0 <= low < high <= 1, the '
                'smallest and largest side of the box relative to those of the image.'
            )
        self.cutmix_minmax = cutmix_minmax

    def draw_mask(self, size: tuple[int, int], lam: float) -> np.ndarray:
        """Draw one box."""
        if self.cutmix_minmax is None:
            box = clipped_box(size, lam)
        else:
            box = minmax_box(size, *self.cutmix_minmax)
        return box_mask(box, size)


class ResizeMix(BatchMix):
    """ResizeMix (arXiv 2012.11101): the whole partner is shrunk and pasted.

    The box lies anywhere inside the image. Its sides are
    ``low + (high - low) * (1 - lam)`` of the image's: with ``alpha=1`` they are
    uniform between ``low`` and ``high``, as in the paper. mmpretrain's ``ResizeMix``
    bounds the own image's share instead and clips boxes at the border.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from. Defaults to 1.0.
        scale (tuple[float, float]): Smallest and largest side ``(low, high)`` as a
            fraction of the image's. Defaults to (0.1, 0.8).
        **kwargs: ``prob``, ``pairing`` and ``mode`` as in :class:`BatchMix`.
    """

    def __init__(
        self, alpha: float = 1.0, scale: tuple[float, float] = (0.1, 0.8), **kwargs: Any
    ):
        super().__init__(alpha, **kwargs)
        low, high = scale
        if not 0 < low <= high <= 1:
            raise InputError(
                f'scale=({low}, {high}): give 0 < low <= high <= 1, the size of the '
                'pasted image relative to the sides of the image; the paper uses (0.1, '
                '0.8).'
            )
        self.scale = low, high

    def draw_mask(self, size: tuple[int, int], lam: float) -> np.ndarray:
        """Draw the box that the partner fills."""
        low, high = self.scale
        return box_mask(scaled_box(size, low + (high - low) * (1 - lam)), size)

    def find_source(self, size: tuple[int, int], partner: Tensor) -> Tensor:
        """Return the whole image of each partner as a box (B, 4)."""
        whole = torch.tensor([[0, size[0], 0, size[1]]])
        return to_device(whole, partner.device).expand(len(partner), 4)

    def partner_patch(
        self, images: Tensor, partner: Tensor, drawn: Drawn, window: Window
    ) -> Tensor:
        """Resize each whole partner to the box that it fills (bilinear)."""
        if len(drawn.mask) == 1:
            return _resized(images, window)[partner]
        patches = images[partner]
        for own, mask in zip(patches, drawn.mask):
            box = smallest_window(mask[None])
            own[(..., *box)] = _resized(own[None], box)[0]
        return patches[(..., *window)]


def _resized(images: Tensor, window: Window) -> Tensor:
    """Resize images (B, C, H, W) to the sides of a window."""
    sides = [int(side.stop - side.start) for side in window]
    if 0 in sides:
        return images[(..., *window)]  # `interpolate` makes no empty image
    # Channels are passed as images: on a CPU this is five times as fast.
    channels = images.flatten(0, 1)[:, None]
    small = F.interpolate(channels, sides, mode='bilinear', align_corners=False)
    return small.view(*images.shape[:2], *sides)
