r"""Draw what DHVT's head tokens attend to, layer by layer (Fig. 4 and 5 of the paper).

    python tools/analysis_tools/draw_head_tokens.py CHECKPOINT IMAGE_OR_FOLDER
    # the control
    python tools/analysis_tools/draw_head_tokens.py IMAGE_OR_FOLDER --random \
        --config CONFIG

For the first image it draws the attention of each head token on the patches, layers by
head tokens, as the mean over heads (Fig. 4 does not say which average) and for head i
of token i; and the attention matrices of all layers, head mean, in the order class
token, patches, head tokens, log colours (Fig. 5). Over all images: the mass on head
tokens and the mean distance that patches attend over, by layer, as picture and as CSV.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from mmtlalign.errors import short_errors
from tools.analysis_tools.options import (
    add_network_options,
    add_random_options,
    check_random,
)
from tools.output import format_table

# Imports of PyTorch come after the command line is read.
if TYPE_CHECKING:
    from mmtlalign.evaluation.head_tokens import HeadTokenFigures

COLUMNS = 4  # of matrices
# Attention below this share of uniform attention has the darkest colour.
DARKEST = 1e-2


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('checkpoint', nargs='?', help='checkpoint of a DHVT')
    add('images', help='an image, or a folder of images at any depth')
    add('--out', type=Path, default='.', help='folder for the figures and the CSV file')
    add_random_options(parser)
    add_network_options(parser)
    args = parser.parse_args()
    check_random(parser, args)
    return args


def draw_maps(maps: np.ndarray, path: Path, title: str) -> None:
    """Draw the attention of head tokens on patches, each map on its own scale.

    Args:
        maps: (layers, head tokens, h, w).
        path: Path of the PNG.
        title: Heading.
    """
    from tools.analysis_tools.style import new_figure

    figure, axes = new_figure(*maps.shape[:2], title, 0.6, 0.1)
    for layer, row in enumerate(maps):
        for token, share in enumerate(row):
            axes[layer, token].imshow(share, cmap='magma', vmin=0)
            if layer == 0:
                axes[layer, token].set_title(f'head token {token}', fontsize=7)
        axes[layer, 0].set_ylabel(f'layer {layer + 1}', fontsize=7)
    figure.savefig(path)


def draw_matrices(matrices: np.ndarray, heads: int, path: Path) -> None:
    """Draw attention matrices (layers, T, T), head tokens behind a line."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    from tools.analysis_tools.style import new_figure

    layers, tokens = matrices.shape[:2]
    columns = min(COLUMNS, layers)
    title = 'Attention by layer: class token, patches, head tokens'
    figure, axes = new_figure(-(-layers // columns), columns, title, 0.6, 0.6, 0.15)
    scale = LogNorm(DARKEST / tokens, matrices.max(), clip=True)
    for layer, (axis, matrix) in enumerate(zip(axes.flat, matrices)):
        axis.imshow(matrix, cmap='magma', norm=scale)
        axis.axvline(tokens - heads - 0.5, color='#42d4f4', linewidth=0.6)
        axis.set_title(f'layer {layer + 1}', fontsize=7)
    bar = figure.add_axes((0.25, 0.4 / figure.get_figheight(), 0.5, 0.01))
    bar.tick_params(labelsize=6)
    figure.colorbar(ScalarMappable(scale, 'magma'), bar, orientation='horizontal')
    figure.savefig(path)


def draw_by_layer(figures: 'HeadTokenFigures', path: Path) -> None:
    """Draw mass on head tokens and distance by layer."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.5, 3), dpi=150, layout='constrained')
    mass, distance = figure.subplots(1, 2)
    layers = range(1, len(figures.mass) + 1)
    mass.plot(layers, figures.mass, marker='o', label='all tokens')
    mass.plot(layers, figures.class_mass, marker='o', label='class token')
    mass.set(xlabel='layer', ylabel='mass on head tokens')
    mass.set_ylim(0, 1.1 * max(map(max, figures[:2])))
    mass.legend(fontsize=7)
    distance.plot(layers, figures.distance, marker='o')
    distance.set(xlabel='layer', ylabel='mean distance of patches, tokens')
    for axis in (mass, distance):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path)


def draw(args: argparse.Namespace) -> None:
    """Measure, draw, and print the numbers."""
    from mmtlalign.evaluation.head_tokens import (
        HeadTokenFigures,
        figures_by_layer,
        head_token_attention,
        head_token_maps,
    )
    from tools.analysis_tools.networks import read_images, read_network

    model, description, size = read_network(args, args.checkpoint, args.seed)
    files, batches = read_images(args.images, size, model.data_preprocessor, args.limit)
    args.out.mkdir(parents=True, exist_ok=True)
    name = args.out / Path(files[0]).stem
    found = []
    for images in batches:
        attention, grid = head_token_attention(model.backbone, images)
        found.append(figures_by_layer(attention, grid))
        if len(found) > 1:
            continue
        first = attention[:, 0]  # (L, h, T, T)
        for own, text in ((False, 'mean over heads'), (True, 'head i of token i')):
            maps = head_token_maps(first, grid, own_head=own).numpy()
            path = Path(f'{name}_head_tokens{"_own" if own else ""}.png')
            draw_maps(maps, path, f'Attention of head tokens, {text}')
        matrices = first.mean(dim=1).numpy()
        draw_matrices(matrices, first.shape[1], Path(f'{name}_matrices.png'))
    figures = HeadTokenFigures(
        *(np.mean([f.numpy() for f in part], axis=0) for part in zip(*found))
    )
    draw_by_layer(figures, Path(f'{name}_by_layer.png'))
    headings = [
        'layer',
        'mass on head tokens',
        'of the class token',
        'distance, tokens',
    ]
    rows = [
        [str(layer), *(f'{value:.4f}' for value in values)]
        for layer, values in enumerate(zip(*figures), 1)
    ]
    with open(f'{name}_by_layer.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([headings, *rows])
    print(f'{description}, {len(files)} images of {size} px')
    print(format_table([headings, *rows]))
    parts = ('head_tokens', 'head_tokens_own', 'matrices', 'by_layer')
    print(', '.join(f'{name}_{part}.png' for part in parts))
    print(f'{name}_by_layer.csv')


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with short_errors(args.config or args.checkpoint):
        draw(args)


if __name__ == '__main__':
    main()
