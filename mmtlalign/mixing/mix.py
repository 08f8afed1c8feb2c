"""The record of a mixed batch, which the loss reads.

Shapes: ``B`` batch, ``K`` classes, ``H, W`` pixels, ``h, w`` token grid,
``N = h * w`` tokens (row by row).
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.device import to_device
from mmtlalign.errors import InputError
from mmtlalign.mixing.guides import GuideOutput

Window = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Mix:
    """A mixed batch and a record of how it was mixed.

    Attributes:
        images: Mixed images (B, 3, H, W).
        labels: Each image's own label before mixing (B, K), one-hot or
            smoothed; every row sums to one.
        partner: Index of the other image (B,), int64.
        mask: Share of the partner in each pixel (1 or B, 1, H, W), 0...1.
        source: Region of the partner's image that fills the smallest box around the
            mask, in pixels (B, 4): top, bottom, left, right, ends exclusive. None:
            the region at the same position.
        guide_output: Output of the guide for the images before mixing, or None.
    """

    images: Tensor
    labels: Tensor
    partner: Tensor
    mask: Tensor
    source: Tensor | None = field(default=None, kw_only=True)
    guide_output: GuideOutput | None = field(default=None, kw_only=True)

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
        if self.source is not None and self.source.shape != (count, 4):
            raise InputError(
                f'A source of shape {tuple(self.source.shape)} for {count} images: '
                'give a box (top, bottom, left, right) for each.'
            )

    def __repr__(self) -> str:
        """Return the sizes, not the pixels."""
        sizes = {f.name: getattr(self, f.name) for f in fields(self)}
        shown = [
            f'{name}={tuple(value.shape)}'
            for name, value in sizes.items()
            if isinstance(value, Tensor)
        ]
        return f'{type(self).__name__}({", ".join(shown)}, {self.images.device})'

    def to(self, device: torch.device | str, non_blocking: bool = False) -> 'Mix':
        """Return the record on another device, as ``Tensor.to``."""
        return self._each(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> 'Mix':
        """Return the record in pinned memory, as a loader with ``pin_memory`` does."""
        return self._each(Tensor.pin_memory)

    def _each(self, move: Callable[[Tensor], Tensor]) -> 'Mix':
        moved: dict[str, Any] = {}
        for given in fields(self):
            value = getattr(self, given.name)
            if isinstance(value, Tensor):
                moved[given.name] = move(value)
            elif isinstance(value, GuideOutput):
                parts = (None if part is None else move(part) for part in value)
                moved[given.name] = GuideOutput(*parts)
        return replace(self, **moved)

    @classmethod
    def unmixed(cls, images: Tensor, labels: Tensor) -> 'Mix':
        """Record a batch that is not mixed, or that another library has mixed."""
        partner = torch.arange(len(images), device=images.device)
        zero = torch.zeros(1, 1, 1, 1, device=images.device)
        return cls(images, labels, partner, zero.expand(1, 1, *images.shape[-2:]))

    def apply_in_backbone(
        self, backbone: nn.Module
    ) -> contextlib.AbstractContextManager[None]:
        """Return a context manager that mixes inside the backbone's forward pass.

        It does nothing, except for MixToken (:class:`mmtlalign.mixing.TokenSwap`).
        """
        return contextlib.nullcontext()

    def area(self) -> Tensor:
        """Return the share of the partner by area (B,), CutMix's label weight."""
        return self.mask.mean(dim=(1, 2, 3)).expand(len(self.images))

    def token_share(
        self, grid: tuple[int, int], patch: tuple[int, int] | None = None
    ) -> Tensor:
        """Return the share of the partner in each token (B, N, 1), float32.

        Args:
            grid: Token rows and columns ``(h, w)``.
            patch: Height and width of a token in pixels. Tokens that extend beyond
                the right or bottom border average only the pixels inside the
                image. Defaults to the image size divided by the grid.

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

    def token_source(
        self, grid: tuple[int, int], patch: tuple[int, int] | None = None
    ) -> Tensor | None:
        """Return which token of the partner's image each token shows (B, N), int64.

        Outside the box around the mask, where the partner is not visible, a token has
        its own index. For a resized partner it is the nearest token. None means that
        every token shows the partner's token at the same position. Arguments and errors
        as in :meth:`token_share`.
        """
        if self.source is None:
            return None
        high, wide = self._patch(grid, patch)
        # A token is represented by its first pixel inside the mask.
        rows, columns = (
            torch.arange(count, device=self.mask.device) * side
            for count, side in zip(grid, (high, wide))
        )
        box = mask_boxes(self.mask[:, 0])
        from_row = _carry(rows, box[:, :2], self.source[:, :2]) // high
        from_column = _carry(columns, box[:, 2:], self.source[:, 2:]) // wide
        index = from_row[:, :, None] * grid[1] + from_column[:, None]
        inside = (
            _inside(rows, box[:, :2], high)[:, :, None]
            & _inside(columns, box[:, 2:], wide)[:, None]
        )
        own = torch.arange(index[0].numel(), device=index.device).view(grid)
        return torch.where(inside, index, own).flatten(1)

    def pasted_share(
        self, grid: tuple[int, int], patch: tuple[int, int] | None = None
    ) -> Tensor:
        """Return how much of each token of the partner's image was pasted (B, N).

        This is :meth:`token_share` in the coordinates of the partner's image; the two
        are equal without ``source``. Arguments and errors as in :meth:`token_share`.
        """
        if self.source is None:
            return self.token_share(grid, patch)[..., 0]
        patch = self._patch(grid, patch)
        box, mask = mask_boxes(self.mask[:, 0]), self.mask[:, 0].float()
        moved = move_pixels(mask[:, None], self.source, box)
        pooled = F.avg_pool2d(moved, patch, patch, ceil_mode=True)
        return pooled.flatten(1)

    def target(self, share: Tensor, own: Tensor | None = None) -> Tensor:
        """Mix the labels (B, K) by a share of the partner (B,).

        Args:
            share: Weight of the partner's label (B,).
            own: Weight of the image's own label (B,); the two need not sum to one.
                Defaults to None: ``1 - share``.

        Returns:
            The mixed labels (B, K).
        """
        share = share.reshape(-1, 1).to(self.labels.dtype)
        if own is None:
            return torch.lerp(self.labels, self.labels[self.partner], share)
        own = own.reshape(-1, 1).to(self.labels.dtype)
        return own * self.labels + share * self.labels[self.partner]

    def _patch(
        self, grid: tuple[int, int], patch: tuple[int, int] | None
    ) -> tuple[int, int]:
        """Return the size of a token in pixels, and check it against the grid."""
        sides = tuple(self.mask.shape[-2:])
        if patch is None:
            if sides[0] % grid[0] or sides[1] % grid[1]:
                raise InputError(
                    f'A grid of {grid[0]}x{grid[1]} tokens does not divide images of '
                    f'{sides[0]}x{sides[1]} pixels evenly; give the size of a token '
                    'with patch=(height, width).'
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


def checked_labels(images: Tensor, labels: Tensor) -> Tensor:
    """Check a batch that is to be mixed, and return its labels (B, K) as float.

    Raises:
        InputError: The images are integers, or the labels are not one-hot or soft.
    """
    if not images.is_floating_point():
        raise InputError(
            f'Images are {images.dtype}: mixing needs floating-point numbers; convert '
            'and normalise them first, such as images.float() / 255.'
        )
    # A column of integers holds class indices, not one-hot labels.
    numbers = labels.shape[1:] == (1,) and not labels.is_floating_point()
    if labels.ndim != 2 or len(labels) != len(images) or numbers:
        raise InputError(
            f'Labels of shape {tuple(labels.shape)} for {len(images)} images: '
            'mixing needs one-hot or soft labels (B, K), such as '
            'torch.nn.functional.one_hot(classes, K); in a config set '
            '`to_onehot=True` and `num_classes` in the data preprocessor.'
        )
    return to_device(labels.float(), images.device)


def mask_boxes(mask: Tensor) -> Tensor:
    """Return the smallest box (B, 4) around each mask (B, H, W), zeros if empty."""
    boxes = []
    for axis in (2, 1):
        full = (mask > 0).any(dim=axis)
        places = torch.arange(full.shape[1], device=mask.device)
        first = torch.where(full, places, full.shape[1]).amin(dim=1)
        last = torch.where(full, places + 1, 0).amax(dim=1)
        boxes += [torch.minimum(first, last), last]
    return torch.stack(boxes, dim=1)


def smallest_window(masks: np.ndarray) -> Window:
    """Return the smallest box around all masks (n, H, W), as slices; 0:0 if empty."""
    mask = masks.any(axis=0)
    sides = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    rows, columns = (slice(s[0], s[-1] + 1) if len(s) else slice(0, 0) for s in sides)
    return rows, columns


def move_pixels(images: Tensor, box: Tensor, source: Tensor) -> Tensor:
    """Copy a region of each image into a box; all pixels outside are zero.

    Args:
        images: (B, C, H, W).
        box: Destination (B, 4): top, bottom, left, right.
        source: Region that is copied (B, 4), resized to the box (nearest pixel).

    Returns:
        A new tensor (B, C, H, W).
    """
    rows, columns = (
        torch.arange(side, device=images.device) for side in images.shape[-2:]
    )
    from_row = _carry(rows, box[:, :2], source[:, :2])[:, None, :, None]
    from_column = _carry(columns, box[:, 2:], source[:, 2:])[:, None, None]
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[:, None, None]
    moved = images[batch, channel, from_row, from_column]
    inside = (
        _inside(rows, box[:, :2])[:, None, :, None]
        & _inside(columns, box[:, 2:])[:, None, None]
    )
    return torch.where(inside, moved, 0)


def _carry(places: Tensor, span: Tensor, source: Tensor) -> Tensor:
    """Map positions (n,) in each span (B, 2) to positions in its source (B, 2), (B, n).

    Along one axis; a span and its source are a start and an exclusive end.
    """
    start, stop = span[:, :1], span[:, 1:]
    first, last = source[:, :1], source[:, 1:]
    # The scaled centre of each pixel, in exact integer arithmetic.
    size = (stop - start).clamp(min=1)
    inside = (places - start).clamp(min=0).minimum(size - 1)
    at = first + ((2 * inside + 1) * (last - first)).div(
        2 * size, rounding_mode='floor'
    )
    return at.clamp(min=0)


def _inside(places: Tensor, span: Tensor, side: int = 1) -> Tensor:
    """Return whether ``side`` pixels from each place (n,) meet the spans (B, 2)."""
    return (places + side > span[:, :1]) & (places < span[:, 1:])
