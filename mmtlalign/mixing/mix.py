"""The record of a mixed batch: the only thing that travels from mixing to loss.

Shapes: ``B`` batch, ``K`` classes, ``H, W`` pixels, ``h, w`` token grid,
``N = h * w`` tokens (row by row).
"""

import contextlib
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.errors import InputError


@dataclass(frozen=True)
class Mix:
    """A mixed batch and what was done to it.

    Attributes:
        images: Mixed images (B, 3, H, W).
        labels: Each image's own label before mixing (B, K), one-hot or
            smoothed; every row sums to one.
        partner: Index of the other image (B,), int64.
        mask: Share of the partner in each pixel (1 or B, 1, H, W), 0...1.
    """

    images: Tensor
    labels: Tensor
    partner: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        mask, labels = self.mask, self.labels
        if mask.ndim != 4 or mask.shape[1] != 1 or not mask.is_floating_point():
            raise InputError(
                f'A mask of shape {tuple(mask.shape)} and {mask.dtype}: give the share '
                'of the partner in each pixel, (1 or B, 1, H, W), float from 0 to 1.'
            )
        if labels.ndim != 2 or not labels.is_floating_point():
            raise InputError(
                f'Labels of shape {tuple(labels.shape)} and {labels.dtype}: give '
                'one-hot or soft labels (B, K), float.'
            )
        count, size = len(self.images), self.images.shape[-2:]
        if len(labels) != count or self.partner.shape != (count,):
            raise InputError(
                f'{count} images with {len(labels)} labels and partners of shape '
                f'{tuple(self.partner.shape)}: give each image a label and a partner.'
            )
        if len(mask) not in (1, count) or mask.shape[-2:] != size:
            raise InputError(
                f'A mask of shape {tuple(mask.shape)} for {count} images of '
                f'{size[0]}x{size[1]} pixels: give one mask, or one for each image, '
                'as large as the images.'
            )

    @classmethod
    def unmixed(cls, images: Tensor, labels: Tensor) -> 'Mix':
        """Record a batch that is not mixed, or that another library has mixed."""
        partner = torch.arange(len(images), device=images.device)
        zero = torch.zeros(1, 1, 1, 1, device=images.device)
        return cls(images, labels, partner, zero.expand(1, 1, *images.shape[-2:]))

    def apply_in_backbone(
        self, backbone: nn.Module
    ) -> contextlib.AbstractContextManager[None]:
        """Return a context manager around the forward pass that mixes inside of it.

        For MixToken (:class:`mmtlalign.mixing.TokenSwap`); it does nothing otherwise.
        """
        return contextlib.nullcontext()

    def area(self) -> Tensor:
        """Return the share of the partner by area (B,): plain CutMix's weight."""
        return self.mask.mean(dim=(1, 2, 3)).expand(len(self.images))

    def token_share(
        self, grid: tuple[int, int], patch: tuple[int, int] | None = None
    ) -> Tensor:
        """Return the share of the partner in each token (B, N, 1), float32.

        Args:
            grid: Token rows and columns ``(h, w)``.
            patch: Height and width of a token in pixels. Tokens that stick out
                of the image at the right or at the bottom count the pixels
                that they really have. Defaults to the image over the grid.

        Raises:
            InputError: The patches do not tile the image as the grid says.
        """
        patch = self._patch(grid, patch)
        pooled = F.avg_pool2d(self.mask.float(), patch, patch, ceil_mode=True)
        return pooled.flatten(2).mT.expand(len(self.images), -1, 1)

    def token_mask(
        self, grid: tuple[int, int], patch: tuple[int, int] | None = None
    ) -> Tensor:
        """Return the mask at each token's first pixel (1 or B, N).

        Nearest down-sampling as in TransMix (CVPR 2022, §3): the top-left pixel
        stands for its patch. Arguments and errors as in :meth:`token_share`.
        """
        high, wide = self._patch(grid, patch)
        return self.mask[..., ::high, ::wide].float().flatten(1)

    def target(self, share: Tensor) -> Tensor:
        """Mix the labels (B, K) by a share of the partner (B,)."""
        share = share.reshape(-1, 1).to(self.labels.dtype)
        return torch.lerp(self.labels, self.labels[self.partner], share)

    def _patch(
        self, grid: tuple[int, int], patch: tuple[int, int] | None
    ) -> tuple[int, int]:
        """Return the size of a token in pixels, checked against the grid."""
        sides = tuple(self.mask.shape[-2:])
        if patch is None:
            if sides[0] % grid[0] or sides[1] % grid[1]:
                raise InputError(
                    f'A grid of {grid[0]}x{grid[1]} tokens does not divide '
                    f'images of {sides[0]}x{sides[1]} pixels evenly; say how '
                    'large a token is with patch=(height, width).'
                )
            return sides[0] // grid[0], sides[1] // grid[1]
        needed = tuple(math.ceil(s / p) for s, p in zip(sides, patch))
        if needed != tuple(grid):
            raise InputError(
                f'Patches of {patch[0]}x{patch[1]} pixels tile an image of '
                f'{sides[0]}x{sides[1]} as {needed[0]}x{needed[1]} tokens, not '
                f'{grid[0]}x{grid[1]}: give the patch and the grid of the same '
                'backbone.'
            )
        return patch[0], patch[1]
