"""Base class of the batch augments, and Mixup.

An augment only defines how its mask is drawn; the rest is shared, and any mask can be
traced. :meth:`BatchMix.mix` returns the record that tracing needs; calling the augment
returns images and mixed labels, as mmpretrain's own batch augments do.

Shapes: ``B`` batch, ``C`` channels, ``H, W`` pixels, ``K`` classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmtlalign.device import to_device
from mmtlalign.errors import InputError
from mmtlalign.mixing.guides import GuideOutput, missing_guide
from mmtlalign.mixing.mix import (
    Mix,
    Window,
    checked_labels,
    mask_boxes,
    move_pixels,
    smallest_window,
)

Guide = Callable[[Tensor, Tensor], GuideOutput]


class Drawn(NamedTuple):
    """Masks, and the regions of the partners that fill them.

    Attributes:
        mask: Share of the partner in each pixel (n, H, W), float32, for n = 1 or B
            images.
        source: Region of the partner that fills the box around each mask, in pixels
            (n, 4): top, bottom, left, right. None: the same position.
    """

    mask: np.ndarray | Tensor
    source: Tensor | None = None


class BatchMix:
    """Base class of augments that mix each image of a batch with a partner.

    Random numbers come from NumPy's global generator in the order of the official
    code; the partners of ``pairing='random'`` from PyTorch's. With ``mode='batch'``:
    probability, mixing ratio, then the mask's own draws. With the other modes, as in
    timm: the ratios of all masks, the probabilities of all, then the draws of each mask
    that is mixed; ratios are rounded to float32.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share ``lam`` is drawn from; positive.
        prob (float): Probability that a batch is mixed at all, 0...1. Unlike the
            official TL-Align code, which redraws until it mixes, a batch that
            is not drawn stays as it is. Defaults to 1.0.
        pairing (str): Choice of the partners. ``'flip'``: image b gets image
            ``B - 1 - b``, as in the official code (the middle image of an odd batch
            gets itself); ``'random'``: any, as in mmpretrain. Defaults to ``'flip'``.
        mode (str): ``'batch'``: one mask for all images; ``'elem'``: one per image;
            ``'pair'``: one for the two images of a pair, which needs
            ``pairing='flip'``. Defaults to ``'batch'``.

    Attributes:
        needs: Fields of :class:`GuideOutput` that a guide has to provide before the
            mask is drawn, such as ``'saliency'``.
        usual_guide: Name of the guide that its paper uses, for messages.
        own_head: Part of the name of the heads of its method, if it has its own.
        modes: The modes that it supports.
        per_image: Whether each image of a batch may get a different augment.

    Raises:
        InputError: An argument has an invalid value.
    """

    needs: frozenset[str] = frozenset()
    usual_guide = ''
    own_head = ''
    modes: tuple[str, ...] = ('batch', 'elem', 'pair')
    per_image = True

    def __init__(
        self,
        alpha: float,
        prob: float = 1.0,
        pairing: str = 'flip',
        mode: str = 'batch',
    ):
        if not alpha > 0:
            raise InputError(
                f'alpha={alpha}: the Beta distribution needs a positive number; '
                'leave the augment out to switch it off.'
            )
        if not 0 <= prob <= 1:
            raise InputError(f'prob={prob}: give a probability from 0 to 1.')
        if pairing not in ('flip', 'random'):
            raise InputError(f"pairing={pairing!r}: choose 'flip' or 'random'.")
        if mode not in self.modes:
            remedy = 'give one of these' if len(self.modes) > 1 else 'leave mode out'
            raise InputError(
                f'mode={mode!r}: {type(self).__name__} has {" and ".join(self.modes)}; '
                f'{remedy}.'
            )
        if mode == 'pair' and pairing != 'flip':
            raise InputError(
                "mode='pair' with pairing='random': in a random permutation no two "
                "images are each other's partner; use pairing='flip', or mode='elem'."
            )
        self.alpha = alpha
        self.prob = prob
        self.pairing = pairing
        self.mode = mode

    def mix(
        self,
        images: Tensor,
        labels: Tensor,
        inplace: bool = False,
        guide: Guide | None = None,
    ) -> Mix:
        """Mix a batch.

        Args:
            images: (B, C, H, W).
            labels: (B, K), one-hot or smoothed.
            inplace: Write the result to ``images``, as mmpretrain does in training.
                Defaults to False: they are left unchanged.
            guide: Computes what the augment ``needs`` from images and labels. Called
                only if it needs something and the batch is mixed. Defaults to None.

        Raises:
            InputError: The images are integers, the labels are not of shape (B, K),
                or there is no guide.
        """
        labels = checked_labels(images, labels)
        lams = self.draw_lams(len(images))
        if lams is None:
            return Mix.unmixed(images, labels)
        partner = self._draw_partner(len(images), images.device)
        guide_output = self._call_guide(images, labels, guide, partner)
        size = (int(images.shape[-2]), int(images.shape[-1]))
        drawn = self.draw_masks(size, lams, guide_output, partner)
        drawn = self.spread(drawn, len(images))
        if drawn.source is None:
            drawn = drawn._replace(source=self.find_source(size, partner))
        mixed = images if inplace else images.clone()
        mask = self.paste(mixed, images, partner, drawn)
        if guide_output is not None:
            whole = self.guided_images(partner) is None  # of each image
            guide_output = guide_output._replace(pictures=None) if whole else None
        return Mix(
            mixed, labels, partner, mask, source=drawn.source, guide_output=guide_output
        )

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mixed images (B, C, H, W) and labels (B, K) mixed by area."""
        mix = self.mix(images, labels)
        return mix.images, mix.target(mix.area())

    def draw_lams(self, batch: int) -> np.ndarray | None:
        """Draw the share of the own image for each mask (n,); 1 means not mixed.

        Returns:
            The shares, or None if no image is mixed.
        """
        if self.mode == 'batch':
            lam = self._draw_lam()
            return None if lam is None else np.array([lam])
        count = mask_count(batch, self.mode)
        lams = self.sample_lams(count)
        lams[np.random.rand(count) >= self.prob] = 1
        return lams if (lams < 1).any() else None

    def sample_lams(self, count: int) -> np.ndarray:
        """Draw shares of the own image (count,), float32."""
        return np.random.beta(self.alpha, self.alpha, size=count).astype(np.float32)

    def draw_masks(
        self,
        size: tuple[int, int],
        lams: np.ndarray,
        guide_output: GuideOutput | None = None,
        partner: Tensor | None = None,
    ) -> Drawn:
        """Draw a mask for each share.

        Args:
            size: Height and width of the images in pixels.
            lams: Shares of the own image (n,), 0...1; 1 gives an empty mask.
            guide_output: Output of the guide; None if the augment ``needs`` nothing.
            partner: Index of each image's partner (B,).
        """
        empty = np.zeros(size, np.float32)
        masks = [self.draw_mask(size, lam) if lam < 1 else empty for lam in lams]
        return Drawn(np.stack(masks))

    def draw_mask(self, size: tuple[int, int], lam: float) -> np.ndarray:
        """Draw the share of the partner in each pixel (H, W), float32.

        Args:
            size: Height and width of the images in pixels.
            lam: Share of the own image that was drawn, 0...1.
        """
        raise NotImplementedError

    def spread(self, drawn: Drawn, batch: int) -> Drawn:
        """Give both images of a pair their mask; does nothing in the other modes."""
        return spread_pairs(drawn, batch) if self.mode == 'pair' else drawn

    def paste(
        self, mixed: Tensor, images: Tensor, partner: Tensor, drawn: Drawn
    ) -> Tensor:
        """Blend the partners into the images where the masks say so.

        Args:
            mixed: Images to change in place (B, C, H, W).
            images: The same images, not mixed; may be ``mixed`` itself.
            partner: Index of each image's partner (B,).
            drawn: One mask, or B masks.

        Returns:
            The masks on the device (1 or B, 1, H, W).
        """
        if isinstance(drawn.mask, np.ndarray):
            window = smallest_window(drawn.mask)
            mask = to_device(torch.from_numpy(drawn.mask)[:, None], images.device)
        else:
            # The smallest window would have to be read back from the device.
            window, mask = (slice(None), slice(None)), drawn.mask[:, None]
        other = self.partner_patch(images, partner, drawn, window)
        # lerp is exact at 0 and 1, so that a box pastes identical pixels.
        mixed[(..., *window)].lerp_(other, mask[(..., *window)].to(images.dtype))
        return mask

    def partner_patch(
        self, images: Tensor, partner: Tensor, drawn: Drawn, window: Window
    ) -> Tensor:
        """Return the partner's pixels for the window of each image (B, C, h, w).

        Args:
            images: (B, C, H, W), before mixing.
            partner: Index of each image's partner (B,).
            drawn: Masks, and the regions of the partners that fill them.
            window: Rows and columns of the smallest box around all masks,
                ``h`` by ``w`` pixels; empty if all masks are empty.
        """
        if drawn.source is None:
            return images[(..., *window)][partner]
        mask = to_device(torch.as_tensor(drawn.mask), images.device)
        moved = move_pixels(images[partner], mask_boxes(mask), drawn.source)
        return moved[(..., *window)]

    def find_source(self, size: tuple[int, int], partner: Tensor) -> Tensor | None:
        """Return the region of each partner that fills the box around a mask (B, 4).

        For augments where it does not depend on the mask; None: the same position.

        Args:
            size: Height and width of the images in pixels.
            partner: Index of each image's partner (B,).
        """
        return None

    def guided_images(self, partner: Tensor) -> Tensor | None:
        """Return indices (n,) of the images that the guide processes; None: all."""
        return None

    def check_guide(self, given: tuple[int, int], size: tuple[int, int]) -> None:
        """Check that a guide's maps fit; by default all do.

        Args:
            given: Rows and columns of the guide's maps.
            size: Height and width of the images.
        """

    def _call_guide(
        self, images: Tensor, labels: Tensor, guide: Guide | None, partner: Tensor
    ) -> GuideOutput | None:
        if not self.needs:
            return None
        if guide is None:
            raise InputError(missing_guide(self))
        asked = self.guided_images(partner)
        if asked is not None:
            images, labels = images[asked], labels[asked]
        output = guide(images, labels)
        needs = sorted(self.needs)
        missing = [name for name in needs if getattr(output, name, None) is None]
        if missing:
            raise InputError(
                f'The guide gives no {" and no ".join(missing)}: for '
                f'{type(self).__name__} it returns a GuideOutput with '
                f'{" and ".join(needs)}.'
            )
        return output

    def _draw_lam(self) -> float | None:
        while True:
            if np.random.rand() >= self.prob:
                return None
            lam = np.random.beta(self.alpha, self.alpha)
            # 1 would mix nothing: draw again.
            if lam < 1:
                return lam

    def _draw_partner(self, batch: int, device: torch.device) -> Tensor:
        if self.pairing == 'flip':
            return torch.arange(batch - 1, -1, -1, device=device)
        return to_device(torch.randperm(batch), device)


class Mixup(BatchMix):
    """Mixup (ICLR 2018): every pixel is a blend of both images.

    All tokens have the same share, which attention cannot change: tracing it
    gives the target of plain Mixup.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from; positive.
        prob (float): Probability that a batch is mixed at all. Defaults to 1.0.
        pairing (str): ``'flip'`` or ``'random'``, as in :class:`BatchMix`. Defaults to
            ``'flip'``.
        mode (str): ``'batch'``, ``'elem'`` or ``'pair'``, as in :class:`BatchMix`.
            Defaults to ``'batch'``.
    """

    def draw_mask(self, size: tuple[int, int], lam: float) -> np.ndarray:
        """Return the same share for all pixels."""
        return np.full(size, 1 - lam, np.float32)


def mask_count(batch: int, mode: str) -> int:
    """Return how many masks a batch of B images needs: 1, B, or B / 2 rounded up."""
    return dict(batch=1, elem=batch, pair=(batch + 1) // 2)[mode]


def spread_pairs(drawn: Drawn, batch: int) -> Drawn:
    """Give mask i to both image i and image B - 1 - i, (B, H, W)."""
    places = np.arange(batch)
    mask = drawn.mask[np.minimum(places, places[::-1])]
    return drawn._replace(mask=mask)
