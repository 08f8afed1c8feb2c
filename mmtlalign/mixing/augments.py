"""Base of the batch augments, and Mixup.

Each augment only says which mask is drawn; pairing, probability and the mixing itself
are shared, and whatever is a mask can be traced. :meth:`BatchMix.mix` gives the record
that tracing needs; calling the augment gives images and mixed labels, as mmpretrain's
own batch augments do, so that a stock ``ImageClassifier`` can use them.

Shapes: ``B`` batch, ``C`` channels, ``H, W`` pixels, ``K`` classes.
"""

import numpy as np
import torch
from torch import Tensor

from mmtlalign.device import to_device
from mmtlalign.errors import InputError
from mmtlalign.mixing.mix import Mix

Window = tuple[slice, slice]


class BatchMix:
    """Mix a batch with one draw of mask and partners.

    Random numbers come from NumPy's global generator in the order of the
    official codes: probability, mixing ratio, then the mask's own draws.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share ``lam`` is drawn from; positive.
        prob (float): Probability that a batch is mixed at all, 0...1. Unlike the
            official TL-Align code, which redraws until it mixes, a batch that
            is not drawn stays as it is. Defaults to 1.0.
        pairing (str): Who is mixed with whom. ``'flip'``: image b with image
            ``B - 1 - b``, as in the official codes (with an odd batch the
            middle image meets itself); ``'random'``: a random permutation, as
            in mmpretrain. Defaults to ``'flip'``.

    Raises:
        InputError: An argument has no such value.
    """

    def __init__(self, alpha: float, prob: float = 1.0, pairing: str = 'flip'):
        if not alpha > 0:
            raise InputError(
                f'alpha={alpha}: the Beta distribution needs a positive number; '
                'leave the augment out to switch it off.'
            )
        if not 0 <= prob <= 1:
            raise InputError(f'prob={prob}: a probability lies between 0 and 1.')
        if pairing not in ('flip', 'random'):
            raise InputError(f"pairing={pairing!r}: choose 'flip' or 'random'.")
        self.alpha = alpha
        self.prob = prob
        self.pairing = pairing

    def mix(self, images: Tensor, labels: Tensor, inplace: bool = False) -> Mix:
        """Mix a batch.

        Args:
            images: (B, C, H, W).
            labels: (B, K), one-hot or smoothed.
            inplace: Mix in the memory of ``images``, as the hosts do in training.
                Defaults to False: they are left as they are.

        Raises:
            InputError: The labels are not of shape (B, K).
        """
        # A column of integers are class numbers, not one-hot labels.
        numbers = labels.shape[1:] == (1,) and not labels.is_floating_point()
        if labels.ndim != 2 or len(labels) != len(images) or numbers:
            raise InputError(
                f'Labels of shape {tuple(labels.shape)} for {len(images)} images: '
                'mixing needs one-hot or soft labels (B, K), such as '
                'torch.nn.functional.one_hot(classes, K); in a config set '
                '`to_onehot=True` and `num_classes` in the data preprocessor.'
            )
        labels = labels.float()
        lam = self._draw_share()
        if lam is None:
            return Mix.unmixed(images, labels)
        drawn = self.draw_mask(tuple(images.shape[-2:]), lam)
        partner = self._draw_partner(len(images), images.device)
        mask = to_device(torch.from_numpy(drawn)[None, None], images.device)
        window = _window(drawn)
        other = self.source_patch(images, window)[partner]
        mixed = images if inplace else images.clone()
        # lerp is exact at 0 and 1, so that a box pastes the very same pixels.
        mixed[(..., *window)].lerp_(other, mask[(..., *window)].to(images.dtype))
        return Mix(mixed, labels, partner, mask)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return images (B, C, H, W), mixed, and labels (B, K), mixed by area."""
        mix = self.mix(images, labels)
        return mix.images, mix.target(mix.area())

    def draw_mask(self, size: tuple[int, int], lam: float) -> np.ndarray:
        """Draw the share of the partner in each pixel (H, W), float32.

        Args:
            size: Height and width of the images in pixels.
            lam: Share of the own image that was drawn, 0...1.
        """
        raise NotImplementedError

    def source_patch(self, images: Tensor, window: Window) -> Tensor:
        """Return what each image gives to its partner (B, C, h, w): its pixels there.

        Args:
            images: (B, C, H, W), before mixing.
            window: Rows and columns of the smallest box around the mask,
                ``h`` by ``w`` pixels; empty where the mask is.
        """
        return images[(..., *window)]

    def _draw_share(self) -> float | None:
        while True:
            if np.random.rand() >= self.prob:
                return None
            lam = np.random.beta(self.alpha, self.alpha)
            # 1 would mix nothing.
            if lam < 1:
                return lam

    def _draw_partner(self, batch: int, device: torch.device) -> Tensor:
        if self.pairing == 'flip':
            return torch.arange(batch - 1, -1, -1, device=device)
        return to_device(torch.randperm(batch), device)


class Mixup(BatchMix):
    """Mixup (ICLR 2018): every pixel is a blend of both images.

    All tokens have the same share, which no attention can change: tracing it
    gives plain Mixup's target.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from; positive.
        prob (float): Probability that a batch is mixed at all. Defaults to 1.0.
        pairing (str): ``'flip'`` or ``'random'``, as in :class:`BatchMix`. Defaults to
            ``'flip'``.
    """

    def draw_mask(self, size: tuple[int, int], lam: float) -> np.ndarray:
        """Return the same share for all pixels."""
        return np.full(size, 1 - lam, np.float32)


def _window(mask: np.ndarray) -> Window:
    """Return the smallest box around the mask: nothing outside it is mixed."""
    sides = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    rows, columns = (slice(s[0], s[-1] + 1) if len(s) else slice(0) for s in sides)
    return rows, columns
