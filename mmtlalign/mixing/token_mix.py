"""Augments whose mask lies on a grid: TokenCutMix, TokenMix, GridMix, MaskMix.

With a mask on the token grid (h, w), no token shows both images.
"""

import math
import warnings
from typing import Any

import numpy as np

from mmtlalign.errors import InputError
from mmtlalign.mixing.augments import BatchMix, mask_count
from mmtlalign.mixing.cutmix import Box, box_mask, clipped_box

# Aspect ratios of blocks lie between this and its inverse (official TokenMix code).
ASPECT = 0.3


class TokenBatchMix(BatchMix):
    """Base class of augments that draw a mask of tokens.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from. Defaults to 1.0.
        patch_size (int): Side of a token in pixels. For hierarchical backbones the
            papers do not say which grid they use; the patch embedding's is usual, and
            with the last stage's (32 for Swin) no merged token shows both images.
            Defaults to 16.
        **kwargs: ``prob``, ``pairing`` and ``mode`` as in :class:`BatchMix`.
    """

    def __init__(self, alpha: float = 1.0, patch_size: int = 16, **kwargs: Any):
        super().__init__(alpha, **kwargs)
        if int(patch_size) != patch_size or patch_size < 1:
            raise InputError(
                f'patch_size={patch_size!r}: give an integer number of pixels, 1 or '
                'more.'
            )
        self.patch_size = int(patch_size)

    def draw_mask(self, size: tuple[int, int], lam: float) -> np.ndarray:
        """Draw tokens and enlarge them to pixels."""
        patch = self.patch_size
        if size[0] % patch or size[1] % patch:
            raise InputError(
                f'patch_size={patch} does not divide images of {size[0]}x{size[1]} '
                'pixels: give the patch size of the backbone, or resize the '
                'images to a multiple of it.'
            )
        tokens = self.draw_tokens((size[0] // patch, size[1] // patch), lam)
        return tokens.repeat(patch, 0).repeat(patch, 1)

    def draw_tokens(self, grid: tuple[int, int], lam: float) -> np.ndarray:
        """Draw the share of the partner in each token (h, w), float32."""
        raise NotImplementedError


def draw_token_box(grid: tuple[int, int], lam: float) -> Box:
    """Draw CutMix's box on a grid of tokens, see :func:`clipped_box`.

    On grids of less than 7 tokens a side, many boxes are empty and the others small.

    Raises:
        InputError: A side has less than 3 tokens, so that every box would be empty.
    """
    if min(grid) < 3:
        raise InputError(
            f'{grid[0]}x{grid[1]} tokens: with less than 3 a side every box of CutMix '
            'is empty, since its half sides are rounded down. Give a smaller '
            'patch_size, or larger images.'
        )
    return clipped_box(grid, lam)


class TokenCutMix(TokenBatchMix):
    """CutMix with the box on the token grid, as TL-Align mixes (ICCV 2023, §3).

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from. Defaults to 1.0.
        patch_size (int): Side of a token in pixels; images of 32 pixels need 4.
            Defaults to 16.
        **kwargs: ``prob``, ``pairing`` and ``mode`` as in :class:`BatchMix`.
    """

    def draw_tokens(self, grid: tuple[int, int], lam: float) -> np.ndarray:
        """Draw one box of tokens."""
        return box_mask(draw_token_box(grid, lam), grid)


class TokenMix(TokenBatchMix):
    """TokenMix (ECCV 2022, arXiv 2207.08409): several separate regions are pasted.

    This class draws only the mask: the paper's targets come from a teacher's label
    maps, which ``mmtlalign.TokenMixVisionTransformerClsHead`` reads.
    ``round((1 - lam) * h * w)`` tokens are the partner's; the official code takes half
    of all tokens and 14 more, ``share=4/7`` of 14x14.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from. Defaults to 1.0.
        patch_size (int): Side of a token in pixels. Defaults to 16.
        mask_type (str): ``'block'``: rectangles of random area and aspect ratio until
            the share is reached, the last one truncated to fit; ``'random'``: single
            tokens. Defaults to ``'block'``.
        share (float, optional): Fixed share of the partner's tokens; the value drawn
            from the Beta distribution is then ignored, as in the official code.
            Defaults to None: the drawn share.
        **kwargs: ``prob``, ``pairing`` and ``mode`` as in :class:`BatchMix`.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        patch_size: int = 16,
        mask_type: str = 'block',
        share: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(alpha, patch_size, **kwargs)
        if share is not None and not 0 < share <= 1:
            raise InputError(
                f"share={share}: the partner's share of the tokens must be above 0 and "
                'at most 1; the official code uses 4/7.'
            )
        self.share = share
        if mask_type not in ('block', 'random'):
            raise InputError(f"mask_type={mask_type!r}: choose 'block' or 'random'.")
        self.mask_type = mask_type

    def draw_tokens(self, grid: tuple[int, int], lam: float) -> np.ndarray:
        """Draw blocks or single tokens."""
        share = 1 - lam if self.share is None else self.share
        count = round(share * grid[0] * grid[1])
        if self.mask_type == 'random':
            return random_cells(grid, count)
        return random_blocks(grid, count)


def random_cells(grid: tuple[int, int], count: int) -> np.ndarray:
    """Draw a mask (h, w), float32, of ``count`` single cells."""
    mask = np.zeros(grid[0] * grid[1], np.float32)
    mask[np.random.permutation(len(mask))[:count]] = 1
    return mask.reshape(grid)


def random_blocks(grid: tuple[int, int], count: int) -> np.ndarray:
    """Draw a mask (h, w), float32, of ``count`` cells in rectangles that may overlap.

    Each rectangle is placed over a cell that is still free, so that it always adds to
    the mask.
    """
    mask = np.zeros(grid, np.float32)
    left = count
    while left:
        area = np.random.uniform(1, left)
        aspect = math.exp(np.random.uniform(math.log(ASPECT), -math.log(ASPECT)))
        sides = math.sqrt(area * aspect), math.sqrt(area / aspect)
        free = np.flatnonzero(mask == 0)
        around = divmod(free[np.random.randint(len(free))], grid[1])
        block = mask[tuple(map(_span, around, sides, grid))]
        rows, columns = np.nonzero(block == 0)
        block[rows[:left], columns[:left]] = 1
        left -= min(left, len(rows))
    return mask


def _span(cell: int, side: float, length: int) -> slice:
    """Draw a run of about ``side`` cells that contains ``cell`` and fits the grid."""
    side = min(max(round(side), 1), length)
    first = np.random.randint(max(cell - side + 1, 0), min(cell, length - side) + 1)
    return slice(first, first + side)


class GridMix(BatchMix):
    """GridMix (Baek et al., Pattern Recognition 2021): random cells of a grid.

    ``round((1 - lam) * grid²)`` cells, drawn at random, come from the partner. Where
    the grid does not divide the image, the sides of its cells differ by one pixel. The
    paper's additional loss on the label of each cell is not part of this class.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from. Defaults to 1.0.
        grid (int): Rows and columns of the grid. Defaults to 7 (our choice): cells of
            32 pixels at 224, the last feature map of most hierarchical backbones.
        **kwargs: ``prob``, ``pairing`` and ``mode`` as in :class:`BatchMix`.
    """

    def __init__(self, alpha: float = 1.0, grid: int = 7, **kwargs: Any):
        super().__init__(alpha, **kwargs)
        if int(grid) != grid or grid < 2:
            raise InputError(
                f'grid={grid}: give integer numbers of rows and columns, 2 or more; '
                'with a single cell nothing is mixed.'
            )
        self.grid = int(grid)

    def draw_mask(self, size: tuple[int, int], lam: float) -> np.ndarray:
        """Draw cells and enlarge them to pixels."""
        grid = self.grid
        if min(size) < grid:
            raise InputError(
                f'grid={grid} needs at least one pixel per cell, but the images have '
                f'{size[0]}x{size[1]}. Give a coarser grid.'
            )
        cells = random_cells((grid, grid), round((1 - lam) * grid**2))
        rows, columns = (np.arange(side) * grid // side for side in size)
        return cells[np.ix_(rows, columns)]


class MaskMix(BatchMix):
    """MaskMix of MixPro (ICLR 2023): random cells, drawn separately for every image.

    One share is drawn for the batch. ``ceil(lam * cells)`` cells, drawn at random for
    each image, keep the own image. Cells at the right and bottom are clipped at the
    border; the label follows the visible pixels, where the official code counts cells.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from. Defaults to 1.0.
        cell (int): Side of a cell in pixels, a multiple of the token's. Defaults to 32
            (our choice): two tokens of 16 a side. The official values are 56 with
            tokens of 14 and, for Swin, 28 or 56.
        prob (float): Probability that a batch is mixed at all. Defaults to 1.0.
        pairing (str): ``'flip'`` or ``'random'``, as in :class:`BatchMix`. Defaults to
            ``'random'``, the official value.
        mode (str): ``'elem'``: one mask per image; ``'pair'``: one per pair, which
            needs ``pairing='flip'``. Defaults to ``'elem'``.
    """

    modes = ('elem', 'pair')
    per_image = False

    def __init__(
        self,
        alpha: float = 1.0,
        cell: int = 32,
        prob: float = 1.0,
        pairing: str = 'random',
        mode: str = 'elem',
    ):
        super().__init__(alpha, prob, pairing, mode)
        if int(cell) != cell or cell < 1:
            raise InputError(
                f'cell={cell!r}: give an integer number of pixels, 1 or more.'
            )
        self.cell = int(cell)

    def draw_lams(self, batch: int) -> np.ndarray | None:
        """Draw one share for all masks."""
        lam = self._draw_lam()
        return None if lam is None else np.full(mask_count(batch, self.mode), lam)

    def draw_mask(self, size: tuple[int, int], lam: float) -> np.ndarray:
        """Draw the cells that keep the own image, and enlarge the others to pixels."""
        if max(size) <= self.cell:
            warnings.warn(
                f'MaskMix, cell={self.cell}: images of {size[0]}x{size[1]} pixels have '
                'only one cell, so nothing is mixed. Give smaller cells.',
                stacklevel=2,
            )
        grid = [math.ceil(side / self.cell) for side in size]
        cells = np.ones(grid[0] * grid[1], np.float32)
        own = math.ceil(len(cells) * lam)
        cells[np.random.permutation(len(cells))[:own]] = 0
        rows, columns = (np.arange(side) // self.cell for side in size)
        return cells.reshape(grid)[np.ix_(rows, columns)]
