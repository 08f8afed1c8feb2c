"""Figures of similar regions, and of attention maps.

Shapes: ``s`` pixels of a side, ``h, w`` token grid.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mmtlalign.evaluation.regions import query_masks
from tools.analysis_tools.style import blank, new_figure

RIGHT, WRONG, PLAIN = '#3cb44b', '#e6194b', '#4363d8'
COLUMNS = 8


def draw_pairs(
    first: np.ndarray,
    second: np.ndarray,
    ends: np.ndarray,
    path: str | Path,
    title: str,
    right: Iterable[bool] | None = None,
) -> None:
    """Draw two images side by side, with a line between matched regions.

    Args:
        first: (s, s, 3) uint8.
        second: (s, s, 3) uint8.
        ends: (n, 2, 2), for each line its end in the first and in the second image,
            (x, y) in pixels.
        path: Path of the PNG.
        title: Heading.
        right: For every line, whether both ends show the same place: green or red.
            Defaults to None: not known.
    """
    size = first.shape[0]
    gap = size // 8
    sheet = np.full((size, 2 * size + gap, 3), 255, np.uint8)
    sheet[:, :size], sheet[:, size + gap :] = first, second
    figure = Figure(figsize=(8.5, 4.4), dpi=150)
    axis = figure.add_axes((0.01, 0.01, 0.98, 0.88))
    blank(axis)
    axis.imshow(sheet, extent=(0, 2 * size + gap, size, 0), interpolation='nearest')
    colours = [PLAIN] * len(ends)
    if right is not None:
        colours = [RIGHT if good else WRONG for good in right]
    for (left, other), colour in zip(ends, colours):
        axis.plot(
            [left[0], other[0] + size + gap],
            [left[1], other[1]],
            color=colour,
            linewidth=1.6,
            marker='o',
            markersize=4,
        )
    figure.suptitle(title, fontsize=11, fontweight='bold')
    figure.savefig(path)


def draw_attention(
    picture: np.ndarray,
    maps: np.ndarray,
    entropies: Sequence[float],
    path: str | Path,
    mass: float = 0.6,
    query: tuple[int, int] | None = None,
) -> None:
    """Draw the attention of each head.

    Args:
        picture: (s, s, 3) uint8.
        maps: Attention (heads, h, w); NaN, which is hatched, at places that the query
            cannot attend to.
        entropies: Entropy of each head, in bits.
        path: Path of the PNG.
        mass: Only the strongest places, which hold this share of attention, are drawn.
        query: Row and column of the query token. Defaults to None: attention of the
            class token or of all tokens.
    """
    kept = query_masks(torch.as_tensor(maps), mass).numpy()
    shown = np.where(kept, np.nan_to_num(maps), 0)
    columns = min(COLUMNS, len(maps) + 1)
    rows = -(-(len(maps) + 1) // columns)
    asker = 'heads look at' if query is None else f'token {query} looks at'
    title = f'The {mass:.0%} that {asker} most'
    figure, axes = new_figure(rows, columns, title, 0.6, 0.2, gap=0.2)
    axes.flat[0].imshow(picture, interpolation='nearest')
    if query is not None:
        mark(axes.flat[0], query, picture.shape[0] / np.array(maps.shape[1:]))
    for head, (axis, share) in enumerate(zip(axes.flat[1:], shown)):
        axis.imshow(share, cmap='magma', vmin=0, interpolation='nearest')
        axis.set_title(f'head {head}: {entropies[head]:.2f} bits', fontsize=7)
        outside = np.isnan(maps[head])
        if outside.any():
            axis.imshow(np.where(outside, 0.85, np.nan), cmap='gray', vmin=0, vmax=1)
            hatch(axis, outside)
        if query is not None:
            mark(axis, query, np.ones(2), -0.5)
    figure.savefig(path)


def mark(
    axis: Axes, query: tuple[int, int], cell: np.ndarray, start: float = 0.0
) -> None:
    """Frame a token; ``cell`` is its height and width, ``start`` the grid's origin."""
    row, column = (start + place * side for place, side in zip(query, cell))
    frame = Rectangle((column, row), cell[1], cell[0], fill=False, edgecolor='#42d4f4')
    frame.set_linewidth(1.2)
    axis.add_patch(frame)


def hatch(axis: Axes, places: np.ndarray) -> None:
    """Hatch places (h, w) of a map."""
    cells = [Rectangle((x - 0.5, y - 0.5), 1, 1) for y, x in np.argwhere(places)]
    look = dict(facecolor='none', edgecolor='#808080', linewidth=0, hatch='////')
    axis.add_collection(PatchCollection(cells, **look))
