"""Saliency-guided augments: Attentive CutMix, SaliencyMix and SMMix.

A guide gives the saliency maps. Masks are computed on the device of the images.

Shapes: ``B`` batch, ``H, W`` pixels, ``h, w`` cells.
"""

import numpy as np
import torch
from torch import Tensor

from mmtlalign.device import to_device
from mmtlalign.errors import InputError
from mmtlalign.mixing.augments import BatchMix, Drawn
from mmtlalign.mixing.guides import (
    GuideOutput,
    check_grid,
    extreme_windows,
    fit_map,
    strongest_place,
    top_cells,
)

Grid = tuple[int, int]


class SalientMix(BatchMix):
    """Base class of augments that need the saliency of the images before mixing."""

    needs = frozenset({'saliency'})
    modes: tuple[str, ...] = ('elem',)
    per_image = False

    def check_guide(self, given: Grid, size: Grid) -> None:
        """Check that a guide's maps fit the grid that masks are drawn on.

        Args:
            given: Rows and columns of the guide's maps.
            size: Height and width of the images.

        Raises:
            InputError: They do not fit.
        """
        check_grid(given, self.grid_of(given, size), type(self).__name__)

    def grid_of(self, given: Grid, size: Grid) -> Grid:
        """Return the rows and columns that masks are drawn on.

        Args:
            given: Rows and columns of the guide's maps.
            size: Height and width of the images.
        """
        raise NotImplementedError

    def saliency(self, guide_output: GuideOutput | None, size: Grid) -> Tensor:
        """Return the guide's maps (B, h, w) on the grid that masks are drawn on."""
        assert guide_output is not None  # BatchMix.mix has called the guide
        given = (
            int(guide_output.saliency.shape[-2]),
            int(guide_output.saliency.shape[-1]),
        )
        self.check_guide(given, size)
        return fit_map(guide_output.saliency, self.grid_of(given, size))


class AttentiveCutMix(SalientMix):
    """Attentive CutMix (ICASSP 2020): the partner's strongest cells are pasted.

    They keep their positions; the label follows the area. The official code reads one
    channel of the last feature map of a frozen ResNet-50; here a guide gives the
    saliency. Of equal cells the first one is taken.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from, once per batch. Used only with ``top_k=None``.
            Defaults to 1.0.
        cells (tuple[int, int], optional): Rows and columns of the cells. Defaults to
            None: the guide's own grid.
        top_k (int, optional): How many cells are taken, 6 of 7 x 7 in the paper.
            Defaults to None: the number follows the drawn share, as in MergeMix.
        keep (str): Whose strongest cells are visible. ``'partner'``: the partner's are
            pasted, as in the paper; ``'own'``: the own image keeps its strongest cells,
            and all others show the partner (AttentiveMix+ of OpenMixup). Defaults to
            ``'partner'``.
        prob (float): Probability that a batch is mixed at all. Defaults to 1.0.
        pairing (str): ``'flip'`` or ``'random'``, as in :class:`BatchMix`. Defaults to
            ``'flip'``.
        mode (str): Only ``'elem'``: each image has its own cells. Defaults to
            ``'elem'``.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        cells: Grid | None = None,
        top_k: int | None = None,
        keep: str = 'partner',
        prob: float = 1.0,
        pairing: str = 'flip',
        mode: str = 'elem',
    ):
        super().__init__(alpha, prob, pairing, mode)
        if keep not in ('partner', 'own'):
            raise InputError(f"keep={keep!r}: choose 'partner' or 'own'.")
        self.cells = None if cells is None else (int(cells[0]), int(cells[1]))
        if self.cells is not None and min(self.cells) < 1:
            raise InputError(f'cells={cells}: give rows and columns, 1 or more.')
        if top_k is not None and (int(top_k) != top_k or top_k < 1):
            raise InputError(
                f'top_k={top_k}: give an integer number of cells, 1 or more.'
            )
        self.top_k = top_k
        self.keep = keep

    def grid_of(self, given: Grid, size: Grid) -> Grid:
        """Return ``cells``, or the guide's own rows and columns."""
        return self.cells or given

    def check_guide(self, given: Grid, size: Grid) -> None:
        """Check that maps fit and have more than ``top_k`` cells.

        Raises:
            InputError: They do not, or a cell is smaller than a pixel.
        """
        super().check_guide(given, size)
        grid = self.grid_of(given, size)
        if self.top_k is not None and self.top_k >= grid[0] * grid[1]:
            raise InputError(
                f'top_k={self.top_k} of {grid[0]}x{grid[1]} cells selects all of them: '
                'give a smaller top_k, or more cells.'
            )
        if grid[0] > size[0] or grid[1] > size[1]:
            raise InputError(
                f'cells={grid} for images of {size[0]}x{size[1]} pixels: a cell needs '
                'one pixel or more; give fewer cells.'
            )

    def draw_lams(self, batch: int) -> np.ndarray | None:
        """Draw one share for the batch; with ``top_k``, only whether it is mixed."""
        if self.top_k is None:
            lam = self._draw_lam()
            return None if lam is None else np.full(batch, lam)
        return np.zeros(batch) if np.random.rand() < self.prob else None

    def draw_masks(
        self,
        size: Grid,
        lams: np.ndarray,
        guide_output: GuideOutput | None = None,
        partner: Tensor | None = None,
    ) -> Drawn:
        """Select the strongest cells, and enlarge them to pixels."""
        saliency = self.saliency(guide_output, size)
        if self.keep == 'partner':
            saliency = saliency[partner]
        high, wide = (int(side) for side in saliency.shape[1:])
        count = self.top_k
        if count is None:
            share = lams[0] if self.keep == 'own' else 1 - lams[0]
            count = round(share * high * wide)
        mask = top_cells(saliency, count)
        if self.keep == 'own':
            mask = 1 - mask
        rows, columns = (
            torch.arange(side, device=mask.device) * cells // side
            for side, cells in zip(size, (high, wide))
        )
        return Drawn(mask[:, rows[:, None], columns])


class SaliencyMix(SalientMix):
    """SaliencyMix (ICLR 2021): CutMix with a box around the partner's salient point.

    The centre of the box is the strongest point of the partner's map, the first of
    equals. The box is clipped at the border as in CutMix; the label follows the area.

    Args:
        alpha (float): Both parameters of the Beta distribution that the own image's
            share is drawn from. Defaults to 1.0.
        prob (float): Probability that a batch is mixed at all. Defaults to 1.0.
        pairing (str): ``'flip'`` or ``'random'``, as in :class:`BatchMix`. Defaults to
            ``'random'``, the official value.
        mode (str): ``'batch'``: one box for all images, around the salient point of the
            first image's partner, as in the official code; the guide processes only
            that partner. ``'elem'``: one box per image. Defaults to ``'batch'``.
    """

    modes = ('batch', 'elem')
    usual_guide = 'FineGrainedSaliency'

    def __init__(
        self,
        alpha: float = 1.0,
        prob: float = 1.0,
        pairing: str = 'random',
        mode: str = 'batch',
    ):
        super().__init__(alpha, prob, pairing, mode)

    def grid_of(self, given: Grid, size: Grid) -> Grid:
        """Return the guide's own rows and columns."""
        return given

    def guided_images(self, partner: Tensor) -> Tensor | None:
        """Return the first image's partner (1,) with ``mode='batch'``, else None."""
        return partner[:1] if self.mode == 'batch' else None

    def draw_masks(
        self,
        size: Grid,
        lams: np.ndarray,
        guide_output: GuideOutput | None = None,
        partner: Tensor | None = None,
    ) -> Drawn:
        """Place a box around the strongest point of each partner."""
        saliency = self.saliency(guide_output, size)
        if self.mode == 'elem':
            saliency = saliency[partner]
        device = saliency.device
        inside = []
        for places, pixels, cells in zip(
            strongest_place(saliency).unbind(dim=1), size, saliency.shape[1:]
        ):
            half = [int(pixels * np.sqrt(1 - lam)) // 2 for lam in lams]
            halves = to_device(torch.tensor(half), device)[:, None]
            middle = ((2 * places + 1) * pixels // (2 * cells))[:, None]
            pixel = torch.arange(pixels, device=device)
            inside.append((pixel >= middle - halves) & (pixel < middle + halves))
        return Drawn((inside[0][:, :, None] & inside[1][:, None]).float())


class SMMix(SalientMix):
    """SMMix (ICCV 2023): the partner's most salient window covers the least salient.

    Windows are square and have one size per batch; their side is uniform between two
    fractions of the shorter side of the grid. Of equal windows the first is taken.
    Partners are those of ``pairing='flip'``, and the partner's window lies at another
    position than the one it covers (``Mix.source``). The label follows the area; the
    terms of the loss are in :class:`mmtlalign.methods.smmix.RegionTerms`.

    Args:
        patch_size (int, optional): Side in pixels of the tokens that windows consist
            of. Defaults to None: the guide's own grid (14 x 14 for DeiT, 7 x 7 for
            Swin and PVT at 224 pixels).
        sides (tuple[float, float]): Smallest and largest side of a window as a
            fraction of the grid's, both inclusive. Defaults to (0.25, 0.75).
        prob (float): Probability that a batch is mixed at all. Defaults to 1.0.
        pairing (str): Only ``'flip'``: image b gets image ``B - 1 - b``. Defaults to
            ``'flip'``.
        mode (str): Only ``'elem'``: each image has its own windows. Defaults to
            ``'elem'``.
    """

    own_head = 'SMMix'

    def __init__(
        self,
        patch_size: int | None = None,
        sides: tuple[float, float] = (0.25, 0.75),
        prob: float = 1.0,
        pairing: str = 'flip',
        mode: str = 'elem',
    ):
        super().__init__(1.0, prob, pairing, mode)
        if patch_size is not None and (int(patch_size) != patch_size or patch_size < 1):
            raise InputError(
                f'patch_size={patch_size!r}: give an integer number of pixels, 1 or '
                'more.'
            )
        low, high = sides
        if not 0 < low <= high < 1:
            raise InputError(
                f'sides=({low}, {high}): give 0 < low <= high < 1, the side of the '
                "window relative to the grid's; the paper uses (0.25, 0.75)."
            )
        if self.pairing != 'flip':
            raise InputError(
                f"pairing={self.pairing!r}: SMMix supports only 'flip'; leave it out."
            )
        self.patch_size = None if patch_size is None else int(patch_size)
        self.sides = low, high

    def grid_of(self, given: Grid, size: Grid) -> Grid:
        """Return the grid of ``patch_size``, or the guide's own."""
        grid = given
        if self.patch_size is not None:
            grid = (size[0] // self.patch_size, size[1] // self.patch_size)
        if not all(grid) or size[0] % grid[0] or size[1] % grid[1]:
            raise InputError(
                f'Windows on {grid[0]}x{grid[1]} cells do not tile images of '
                f'{size[0]}x{size[1]} pixels: give SMMix the patch_size of the '
                'backbone, or resize the images to a multiple of it.'
            )
        return grid

    def draw_lams(self, batch: int) -> np.ndarray | None:
        """Draw whether the batch is mixed; :meth:`draw_masks` draws the area."""
        return np.zeros(batch) if np.random.rand() < self.prob else None

    def draw_side(self, cells: int) -> int:
        """Draw the side of the windows, in cells, for a grid of ``cells`` a side."""
        low, high = (int(cells * side) for side in self.sides)
        return int(np.random.randint(max(low, 1), max(high, 1) + 1))

    def draw_masks(
        self,
        size: Grid,
        lams: np.ndarray,
        guide_output: GuideOutput | None = None,
        partner: Tensor | None = None,
    ) -> Drawn:
        """Find the windows; ``source`` is their position in the partner's image."""
        saliency = self.saliency(guide_output, size)
        high, wide = (int(cells) for cells in saliency.shape[1:])
        side = self.draw_side(min(high, wide))
        lowest, highest = extreme_windows(saliency, side)
        device = saliency.device
        rows, columns = (
            torch.arange(pixels, device=device) * cells // pixels
            for pixels, cells in zip(size, (high, wide))
        )
        in_rows = (rows >= lowest[:, :1]) & (rows < lowest[:, :1] + side)
        in_columns = (columns >= lowest[:, 1:]) & (columns < lowest[:, 1:] + side)
        mask = (in_rows[:, :, None] & in_columns[:, None]).float()
        top, left = highest[partner].unbind(dim=1)
        high, wide = size[0] // high, size[1] // wide  # pixels of a cell
        box = [high * top, high * (top + side), wide * left, wide * (left + side)]
        return Drawn(mask, torch.stack(box, dim=1))
