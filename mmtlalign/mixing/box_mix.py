"""Augments that paste one box of pixels."""

import torch.nn.functional as F

from .augments import BatchMix
from .boxes import box_mask, clipped_box, minmax_box, scaled_box


class CutMix(BatchMix):
    """CutMix (ICCV 2019): a box of pixels comes from the partner.

    Args:
        alpha: As in :class:`BatchMix`. Defaults to 1.0.
        cutmix_minmax: Draw the box's sides uniformly between these two
            fractions of the image instead of from ``alpha``. Defaults to None.
        **kwargs: ``prob`` and ``pairing`` as in :class:`BatchMix`.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        cutmix_minmax: tuple[float, float] | None = None,
        **kwargs,
    ):
        super().__init__(alpha, **kwargs)
        self.cutmix_minmax = cutmix_minmax

    def draw_mask(self, size, lam):
        if self.cutmix_minmax is None:
            box = clipped_box(size, lam)
        else:
            box = minmax_box(size, *self.cutmix_minmax)
        return box_mask(box, size)


class ResizeMix(BatchMix):
    """ResizeMix (arXiv 2012.11101): the whole partner, made small, is pasted.

    The box lies inside the image, anywhere. Its sides are
    ``low + (high - low) * (1 - lam)`` of the image's: with ``alpha=1`` uniform
    between both, as in the paper. mmpretrain's ``ResizeMix`` bounds the own
    image's share instead and lets boxes be cut off at the border.

    Args:
        alpha: As in :class:`BatchMix`. Defaults to 1.0.
        scale: Smallest and largest side ``(low, high)`` as a fraction of the
            image's. Defaults to (0.1, 0.8).
        **kwargs: ``prob`` and ``pairing`` as in :class:`BatchMix`.
    """

    def __init__(
        self, alpha: float = 1.0, scale: tuple[float, float] = (0.1, 0.8), **kwargs
    ):
        super().__init__(alpha, **kwargs)
        low, high = scale
        if not 0 < low <= high <= 1:
            raise ValueError(
                f'scale=({low}, {high}): the pasted image has 0 < low <= high <= 1 '
                "of the image's sides; (0.1, 0.8) is the paper's."
            )
        self.scale = low, high

    def draw_mask(self, size, lam):
        low, high = self.scale
        return box_mask(scaled_box(size, low + (high - low) * (1 - lam)), size)

    def pasted(self, images, window):
        """The whole image, resized to the window (bilinear)."""
        sides = [int(side.stop - side.start) for side in window]
        # One channel at a time: on a CPU that is five times as fast as three.
        channels = images.flatten(0, 1)[:, None]
        small = F.interpolate(channels, sides, mode='bilinear', align_corners=False)
        return small.view(*images.shape[:2], *sides)
