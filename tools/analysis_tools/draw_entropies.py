r"""Draw the entropy of every head, layer by layer, of several networks (EsViT, §4.4).

    python tools/analysis_tools/draw_entropies.py IMAGE_OR_FOLDER \
        --networks V=dino.pth V+R=esvit.pth --random --config CONFIG

Each panel shows a layer: the heads of each network, sorted by entropy (mean over
queries and images, in bits). 0 is attention to a single token, the dashed line uniform
attention. --random adds a network with random weights, the control. All networks must
have the same number of layers.
"""

import argparse
import csv
import sys
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from mmtlalign.errors import InputError, short_errors
from tools.analysis_tools.options import add_network_options, add_random_options

COLUMNS = 4
# Indices of CLASS_COLOURS that are easy to tell apart as lines.
LINES = (5, 0, 3, 6, 1, 4)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('images', help='an image, or a folder of images at any depth')
    add('--networks', nargs='+', default=[], metavar='NAME=CHECKPOINT')
    add(
        '--out',
        type=Path,
        default=Path('entropies.png'),
        help='figure to write; a CSV file is written next to it',
    )
    add_random_options(parser)
    add_network_options(parser)
    args = parser.parse_args()
    wrong = [given for given in args.networks if not all(given.partition('='))]
    if wrong:
        parser.error(f'--networks {wrong[0]}: takes NAME=CHECKPOINT')
    if not args.networks and not args.random:
        parser.error(
            'name --networks NAME=CHECKPOINT …, or --random with --config FILE'
        )
    if args.random and not args.config:
        parser.error('--random needs --config FILE')
    if args.out.suffix != '.png':
        parser.error(f'--out {args.out}: takes a file that ends with .png')
    return args


def measure(args: argparse.Namespace, checkpoint: str | None) -> tuple[list, list]:
    """Return the entropies of each layer's heads, descending, and their maximum."""
    from mmtlalign.evaluation.attention_maps import read_attention
    from mmtlalign.evaluation.regions import attention_entropy, sort_entropies
    from tools.analysis_tools.networks import read_images, read_network

    model, _, size = read_network(args, checkpoint, args.seed)
    _, batches = read_images(args.images, size, model.data_preprocessor, args.limit)
    found = []
    for images in batches:
        layers = read_attention(model.backbone, images)
        # A plain mean is right: every image has the same number of windows.
        found.append([attention_entropy(one.weights).mean(dim=0) for one in layers])
    bits = [sum(parts) / len(parts) for parts in zip(*found)]
    most = [float(np.log2(one.weights.shape[-1])) for one in layers]
    return [sort_entropies(part)[0].tolist() for part in bits], most


def draw(found: dict[str, list], most: list[float], path: Path) -> None:
    """Draw a panel for each layer, in it a line for each network.

    Args:
        found: Name of a network -> layers -> entropies of heads, descending.
        most: Entropy of uniform attention in each layer.
        path: Path of the PNG.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from tools.analysis_tools.style import colour_of

    columns = min(COLUMNS, len(most))
    rows = -(-len(most) // columns)
    size = 2.2 * columns + 0.4, 1.8 * rows + 0.5
    figure = Figure(figsize=size, dpi=150, layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for layer, axis in enumerate(axes.flat):
        if layer >= len(most):
            axis.set_visible(False)
            continue
        for number, (name, layers) in enumerate(found.items()):
            ranks = range(1, len(layers[layer]) + 1)
            colour = colour_of(LINES[number % len(LINES)])
            axis.plot(ranks, layers[layer], color=colour, marker='.', label=name)
        axis.axhline(most[layer], color='grey', linestyle='--', linewidth=0.8)
        axis.set_title(f'layer {layer + 1}', fontsize=8)
        axis.tick_params(labelsize=6)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylim(0, max(most) * 1.05)
    axes[0, 0].legend(fontsize=6)
    figure.supxlabel('heads, by falling entropy', fontsize=8)
    figure.supylabel('entropy, bits', fontsize=8)
    figure.savefig(path)


def run(args: argparse.Namespace) -> None:
    """Measure, draw, write and print."""
    networks = {'random': None} if args.random else {}
    for given in args.networks:
        name, _, checkpoint = given.partition('=')
        networks[name] = checkpoint
    found, most = {}, []
    for name, checkpoint in networks.items():
        found[name], bits = measure(args, checkpoint)
        if most and len(bits) != len(most):
            raise InputError(
                f'{name} has {len(bits)} layers and {next(iter(found))} {len(most)}: '
                'one figure needs networks with the same number of layers, so draw '
                'them one by one.'
            )
        most = [max(pair) for pair in zip(bits, most or bits)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    draw(found, most, args.out)
    table = args.out.with_suffix('.csv')
    with open(table, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['network', 'layer', 'rank', 'bits', 'most bits'])
        for name, layers in found.items():
            for layer, heads in enumerate(layers, 1):
                for rank, bits in enumerate(heads, 1):
                    row = [name, layer, rank, f'{bits:.4f}', f'{most[layer - 1]:.4f}']
                    writer.writerow(row)
            means = ' '.join(f'{np.mean(heads):.2f}' for heads in layers)
            print(f'{name}: bits by layer {means}')
    print(f'{args.out}, {table}')


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with short_errors(args.config or args.images):
        run(args)


if __name__ == '__main__':
    main()
