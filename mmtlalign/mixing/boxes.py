"""Where a box is pasted: random rectangles on a grid of pixels or of tokens.

All draws use NumPy's global generator, which mmengine seeds, in the order of
the official codes (TL-Align, ICCV 2023; TransMix, CVPR 2022): centre row, then
centre column. Boxes are ``(top, bottom, left, right)``, ends exclusive.
"""

import numpy as np

Box = tuple[int, int, int, int]


def clipped_box(size: tuple[int, int], lam: float) -> Box:
    """A box of relative area ``1 - lam`` around a random centre, clipped.

    Half sides are rounded down, so that an unclipped side is always even and
    the own image is favoured, as in CutMix (ICCV 2019, Algorithm 1) and every
    code that followed it. A side of 0 or 1 gives an empty box.

    Args:
        size: Height and width of the grid.
        lam: Share of the own image asked for, 0...1. What the box really
            leaves is ``1 - box_area(box, size)``.
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
    """A box whose sides are uniform between two fractions, inside the grid.

    Args:
        size: Height and width of the grid.
        low: Smallest side as a fraction of the grid's.
        high: Largest side as a fraction of the grid's, exclusive.

    Raises:
        ValueError: If a side cannot be drawn, as when ``high <= low``.
    """
    height, width = size
    if not 0 <= low < high <= 1 or int(height * low) >= int(height * high):
        raise ValueError(
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
    """A box of the grid's own shape, ``scale`` times its sides, inside the grid.

    Every place is equally likely; a side is rounded and has at least one cell.

    Args:
        size: Height and width of the grid.
        scale: Sides of the box as a fraction of the grid's, 0...1.
    """
    sides = [max(round(side * scale), 1) for side in size]
    top, left = (np.random.randint(n - side + 1) for n, side in zip(size, sides))
    return top, top + sides[0], left, left + sides[1]


def box_mask(box: Box, size: tuple[int, int]) -> np.ndarray:
    """Ones in the box and zeros around it (height, width), float32."""
    top, bottom, left, right = box
    mask = np.zeros(size, np.float32)
    mask[top:bottom, left:right] = 1
    return mask


def box_area(box: Box, size: tuple[int, int]) -> float:
    """The share of the grid that the box covers, 0...1."""
    top, bottom, left, right = box
    return (bottom - top) * (right - left) / (size[0] * size[1])
