"""GridMix: cells of a coarse grid are taken from either image."""

import numpy as np

from .augments import BatchMix
from .token_mix import random_cells


class GridMix(BatchMix):
    """GridMix (Baek et al., Pattern Recognition 2021): a grid of random cells.

    ``round((1 - lam) * grid²)`` cells, drawn at random, come from the partner.
    Where the grid does not divide the image, its cells differ by one pixel. The
    mask alone: the paper's extra loss on the label of each cell is a head's
    matter.

    Args:
        alpha: As in :class:`BatchMix`. Defaults to 1.0.
        grid: Rows and columns of the grid. Defaults to 7 (ours): cells of 32
            pixels at 224, the last feature map of most hierarchical backbones.
        **kwargs: ``prob`` and ``pairing`` as in :class:`BatchMix`.
    """

    def __init__(self, alpha: float = 1.0, grid: int = 7, **kwargs):
        super().__init__(alpha, **kwargs)
        if int(grid) != grid or grid < 2:
            raise ValueError(
                f'grid={grid}: give whole rows and columns, 2 or more; with a '
                'single cell nothing is mixed.'
            )
        self.grid = int(grid)

    def draw_mask(self, size, lam):
        grid = self.grid
        if min(size) < grid:
            raise ValueError(
                f'grid={grid} cells need as many pixels: the images have '
                f'{size[0]}x{size[1]}. Give a coarser grid.'
            )
        cells = random_cells((grid, grid), round((1 - lam) * grid**2))
        rows, columns = (np.arange(side) * grid // side for side in size)
        return cells[np.ix_(rows, columns)]
