"""Draw which regions of an image and its mirror image a checkpoint takes for one."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from mmtlalign.compat.files import check_file
from mmtlalign.compat.own_configs import DictAction
from mmtlalign.errors import short_errors
from tools.analysis_tools.knn import WEIGHT_CHOICES
from tools.analysis_tools.style import blank, new_figure

# What imports PyTorch comes after the command line.
if TYPE_CHECKING:
    from tools.analysis_tools.regions import RegionPairs

RIGHT, WRONG = '#3cb44b', '#e6194b'
COLUMNS = 8


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('checkpoint', help='of EsViT, or of any classification')
    add('image', help='file of an image')
    add('--config', help='config of the run, if it is not in the checkpoint')
    add(
        '--weights',
        choices=WEIGHT_CHOICES[:-1],
        default='auto',
        help='as of tools/analysis_tools/knn.py',
    )
    add('--size', type=int, help='pixels of a side; default: img_size of the backbone')
    add('--pairs', type=int, default=10, help='pairs of regions that are drawn')
    add('--mass', type=float, default=0.6, help='share of the attention that is drawn')
    add('--out', type=Path, default='.', help='folder for <image>_regions.png and …')
    add('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args()
    if args.pairs < 1 or not 0 < args.mass <= 1:
        parser.error('--pairs takes 1 or more, --mass a share above 0 to 1')
    return args


def draw_pairs(
    first: np.ndarray, second: np.ndarray, pairs: 'RegionPairs', path: str | Path
) -> None:
    """Draw two views side by side, a line from region to region.

    Args:
        first: (s, s, 3) uint8.
        second: Its mirror image, of the same shape.
        pairs: Lines; green where both ends show the same place.
        path: Where the PNG goes.
    """
    size = first.shape[0]
    gap = size // 8
    sheet = np.full((size, 2 * size + gap, 3), 255, np.uint8)
    sheet[:, :size], sheet[:, size + gap :] = first, second
    from matplotlib.figure import Figure

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


def most_of(maps: np.ndarray, mass: float = 0.6) -> np.ndarray:
    """Return the places that hold the most attention.

    Args:
        maps: Attention (heads, h, w), not negative.
        mass: Share of a head's attention that they hold at least, above 0 to 1. 0.6 is
            that of the official pictures of DINO and EsViT.

    Returns:
        (heads, h, w) bool.
    """
    flat = maps.reshape(len(maps), -1)
    order = flat.argsort(axis=1)
    kept = np.take_along_axis(flat, order, axis=1).cumsum(axis=1)
    kept = kept > (1 - mass) * kept[:, -1:]
    places = np.zeros_like(kept)
    np.put_along_axis(places, order, kept, axis=1)
    return places.reshape(maps.shape)


def draw_attention(
    picture: np.ndarray,
    maps: np.ndarray,
    entropies: Sequence[float],
    path: str | Path,
    mass: float = 0.6,
) -> None:
    """Draw the attention of each head of the last layer.

    Args:
        picture: (s, s, 3) uint8.
        maps: Attention (heads, h, w).
        entropies: Entropy of each head, in bits.
        path: Where the PNG goes.
        mass: Only places that hold this share of it are drawn.
    """
    shown = np.where(most_of(maps, mass), maps, 0)
    columns = min(COLUMNS, len(maps) + 1)
    rows = -(-(len(maps) + 1) // columns)
    title = f'The {mass:.0%} that heads look at most'
    figure, axes = new_figure(rows, columns, title, 0.6, 0.2, gap=0.2)
    axes.flat[0].imshow(picture, interpolation='nearest')
    for head, (axis, share) in enumerate(zip(axes.flat[1:], shown)):
        axis.imshow(share, cmap='magma', vmin=0, interpolation='nearest')
        axis.set_title(f'head {head}: {entropies[head]:.2f} bits', fontsize=7)
    figure.savefig(path)


def draw(args: argparse.Namespace) -> None:
    """Measure, draw, and print the numbers."""
    for path in filter(None, (args.config, args.checkpoint, args.image)):
        check_file(path, 'file')
    from mmtlalign.engine.console import filter_known_warnings

    filter_known_warnings()
    from mmtlalign.evaluation.frozen_features import frozen_features
    from mmtlalign.evaluation.last_attention import last_attention
    from mmtlalign.evaluation.regions import attention_entropy
    from tools.analysis_tools.regions import (
        find_pairs,
        normalised,
        read_config,
        read_picture,
        second_view,
    )

    cfg = read_config(args.config, args.checkpoint, args.cfg_options)
    model, description = frozen_features(cfg, args.checkpoint, args.weights)
    size = args.size or cfg.model.backbone.get('img_size', 224)
    picture = read_picture(args.image, size)
    views = [picture, second_view(picture)]
    images = normalised(views, model.data_preprocessor)
    (pairs,) = find_pairs(model.backbone, images[:1], images[1:], args.pairs)
    attention = last_attention(model.backbone, images[:1])
    entropies = attention_entropy(attention.weights).mean(dim=0).tolist()
    args.out.mkdir(parents=True, exist_ok=True)
    name = args.out / Path(args.image).stem
    draw_pairs(*views, pairs, f'{name}_regions.png')
    maps = attention.maps()[0].numpy()
    draw_attention(picture, maps, entropies, f'{name}_attention.png', args.mass)
    print(description)
    print(
        f'{len(pairs.ends)} pairs of {maps.shape[1]}x{maps.shape[2]} regions: accuracy '
        f'{pairs.accuracy:.2f}, distance {pairs.distance:.1f} px'
    )
    bits = ' '.join(f'{value:.2f}' for value in entropies)
    most = np.log2(attention.weights.shape[-1])
    mean = np.mean(entropies)
    print(f'attention entropy {mean:.2f} of at most {most:.2f} bits; heads: {bits}')
    print(f'{name}_regions.png, {name}_attention.png')


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with short_errors(args.config or args.checkpoint):
        draw(args)


if __name__ == '__main__':
    main()
