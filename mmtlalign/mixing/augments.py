"""Batch augments: how a batch is mixed, and with whom.

Each augment only says which mask is drawn; pairing, probability and the mixing
itself are shared. :meth:`BatchMix.mix` gives the full record that tracing
needs; calling the augment gives images and mixed labels, as mmpretrain's own
batch augments do, so that a stock ``ImageClassifier`` can use them.
"""

import numpy as np
import torch
from torch import Tensor

from .boxes import Box, clipped_box, minmax_box
from .mix import Mix


class BatchMix:
    """Base of the augments: one draw for the whole batch.

    Random numbers come from NumPy's global generator in the order of the
    official codes: probability, mixing ratio, then the mask's own draws.

    Args:
        alpha: Both parameters of the Beta distribution that the own image's
            share is drawn from; positive.
        prob: Probability that a batch is mixed at all, 0...1. Unlike the
            official TL-Align code, which redraws until it mixes, a batch that
            is not drawn stays as it is.
        pairing: Who is mixed with whom. ``'flip'``: image b with image
            ``B - 1 - b``, as in the official codes (with an odd batch the
            middle image meets itself); ``'random'``: a random permutation, as
            in mmpretrain.
    """

    def __init__(self, alpha: float, prob: float = 1.0, pairing: str = 'flip'):
        if not alpha > 0:
            raise ValueError(
                f'alpha={alpha}: the Beta distribution needs a positive number; '
                'leave the augment out to switch it off.'
            )
        if not 0 <= prob <= 1:
            raise ValueError(f'prob={prob}: a probability lies between 0 and 1.')
        if pairing not in ('flip', 'random'):
            raise ValueError(f"pairing={pairing!r}: choose 'flip' or 'random'.")
        self.alpha = alpha
        self.prob = prob
        self.pairing = pairing

    def mix(self, images: Tensor, labels: Tensor) -> Mix:
        """Mix a batch; the inputs are left as they are.

        Args:
            images: (B, C, H, W).
            labels: (B, K), one-hot or smoothed.
        """
        if labels.ndim != 2 or len(labels) != len(images):
            raise ValueError(
                f'Labels of shape {tuple(labels.shape)} for {len(images)} images: '
                'mixing needs one-hot or soft labels of shape (B, K); set '
                '`to_onehot=True` and `num_classes` in the data preprocessor.'
            )
        labels = labels.float()
        lam = self._draw_share()
        if lam is None:
            return Mix.unmixed(images, labels)
        mask = self.draw_mask(tuple(images.shape[-2:]), lam, images.device)
        partner = self._draw_partner(len(images), images.device)
        # lerp is exact at 0 and 1, so that a box pastes the very same pixels.
        mixed = torch.lerp(images, images[partner], mask.to(images.dtype))
        return Mix(mixed, labels, partner, mask)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images (B, C, H, W) and labels (B, K), mixed by area."""
        mix = self.mix(images, labels)
        return mix.images, mix.target(mix.area())

    def draw_mask(self, size: tuple[int, int], lam: float, device) -> Tensor:
        """Share of the partner in each pixel (1, 1, H, W), float32.

        Args:
            size: Height and width of the images in pixels.
            lam: Share of the own image that was drawn, 0...1.
            device: Where the mask is needed.
        """
        raise NotImplementedError

    def _draw_share(self) -> float | None:
        while True:
            if np.random.rand() >= self.prob:
                return None
            lam = np.random.beta(self.alpha, self.alpha)
            if lam < 1:
                return lam

    def _draw_partner(self, batch: int, device) -> Tensor:
        if self.pairing == 'flip':
            return torch.arange(batch - 1, -1, -1, device=device)
        return torch.randperm(batch).to(device, non_blocking=True)


class Mixup(BatchMix):
    """Mixup (ICLR 2018): every pixel is a blend of both images.

    All tokens have the same share, which no attention can change: tracing it
    gives plain Mixup's target. Arguments as in :class:`BatchMix`.
    """

    def draw_mask(self, size, lam, device):
        return torch.full((1, 1, 1, 1), 1 - lam, device=device).expand(1, 1, *size)


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

    def draw_mask(self, size, lam, device):
        if self.cutmix_minmax is None:
            box = clipped_box(size, lam)
        else:
            box = minmax_box(size, *self.cutmix_minmax)
        return _box_mask(box, size, device)


class TokenCutMix(BatchMix):
    """CutMix with the box on the token grid, as TL-Align mixes (ICCV 2023, §3).

    Args:
        alpha: As in :class:`BatchMix`. Defaults to 1.0.
        patch_size: Side of a token in pixels. For hierarchical backbones the
            paper does not say which grid; the patch embedding's is usual, the
            last stage's (32 for Swin) keeps every merged token whole.
            Defaults to 16.
        **kwargs: ``prob`` and ``pairing`` as in :class:`BatchMix`.
    """

    def __init__(self, alpha: float = 1.0, patch_size: int = 16, **kwargs):
        super().__init__(alpha, **kwargs)
        if int(patch_size) != patch_size or patch_size < 1:
            raise ValueError(f'patch_size={patch_size}: give whole pixels, 1 or more.')
        self.patch_size = int(patch_size)

    def draw_mask(self, size, lam, device):
        patch = self.patch_size
        if size[0] % patch or size[1] % patch:
            raise ValueError(
                f'patch_size={patch} does not divide images of {size[0]}x{size[1]} '
                'pixels: give the patch size of the backbone, or resize the '
                'images to a multiple of it.'
            )
        box = clipped_box((size[0] // patch, size[1] // patch), lam)
        return _box_mask(tuple(side * patch for side in box), size, device)


def _box_mask(box: Box, size: tuple[int, int], device) -> Tensor:
    top, bottom, left, right = box
    mask = torch.zeros(1, 1, *size, device=device)
    mask[..., top:bottom, left:right] = 1
    return mask
