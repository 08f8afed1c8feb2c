"""Pictures of regions that correspond, and of where each head looks."""

import numpy as np
from matplotlib.figure import Figure

from tools.analysis_tools.style import blank, new_figure

RIGHT, WRONG = '#3cb44b', '#e6194b'
COLUMNS = 8


def draw_pairs(first, second, pairs, path):
    """Draw two views side by side, a line from region to region.

    Args:
        first (np.ndarray): (s, s, 3) uint8.
        second (np.ndarray): Its mirror image, of the same shape.
        pairs (RegionPairs): Lines; green where both ends show the same place.
        path (str | Path): Where the PNG goes.
    """
    size = first.shape[0]
    gap = size // 8
    sheet = np.full((size, 2 * size + gap, 3), 255, np.uint8)
    sheet[:, :size], sheet[:, size + gap :] = first, second
    figure = Figure(figsize=(8.5, 4.4), dpi=150)
    axis = figure.add_axes((0.01, 0.01, 0.98, 0.88))
    blank(axis)
    axis.imshow(sheet, extent=(0, 2 * size + gap, size, 0), interpolation='nearest')
    for (left, right), good in zip(pairs.ends, pairs.right):
        axis.plot(
            [left[0], right[0] + size + gap],
            [left[1], right[1]],
            color=RIGHT if good else WRONG,
            linewidth=1.6,
            marker='o',
            markersize=4,
        )
    figure.suptitle(
        f'The {len(pairs.ends)} regions that are most alike: {pairs.accuracy:.0%} at '
        f'the same place, {pairs.distance:.1f} px away on average',
        fontsize=11,
        fontweight='bold',
    )
    figure.savefig(path)


def most_of(maps, mass=0.6):
    """The places that hold the most attention.

    Args:
        maps (np.ndarray): Attention (heads, h, w), not negative.
        mass (float): Share of a head's attention that they hold at least, above 0 to
            1. Defaults to 0.6, as in the official pictures of DINO and EsViT.

    Returns:
        np.ndarray: (heads, h, w) bool.
    """
    flat = maps.reshape(len(maps), -1)
    order = flat.argsort(axis=1)
    kept = np.take_along_axis(flat, order, axis=1).cumsum(axis=1)
    kept = kept > (1 - mass) * kept[:, -1:]
    found = np.zeros_like(kept)
    np.put_along_axis(found, order, kept, axis=1)
    return found.reshape(maps.shape)


def draw_attention(picture, maps, entropies, path, mass=0.6):
    """Draw where each head of the last layer looks.

    Args:
        picture (np.ndarray): (s, s, 3) uint8.
        maps (np.ndarray): Attention (heads, h, w).
        entropies (Sequence[float]): Of the heads, in bits.
        path (str | Path): Where the PNG goes.
        mass (float): Only places that hold so much of it are drawn. Defaults to 0.6.
    """
    shown = np.where(most_of(maps, mass), maps, 0)
    columns = min(COLUMNS, len(maps) + 1)
    rows = -(-(len(maps) + 1) // columns)
    figure, axes = new_figure(
        rows, columns, f'The {mass:.0%} that heads look at most', 0.6, 0.2, gap=0.2
    )
    axes.flat[0].imshow(picture, interpolation='nearest')
    for head, (axis, share) in enumerate(zip(axes.flat[1:], shown)):
        axis.imshow(share, cmap='magma', vmin=0, interpolation='nearest')
        axis.set_title(f'head {head}: {entropies[head]:.2f} bits', fontsize=7)
    figure.savefig(path)
