"""Draw which regions of two images a checkpoint matches, and its attention.

    python tools/analysis_tools/draw_regions.py CHECKPOINT IMAGE
    python tools/analysis_tools/draw_regions.py CHECKPOINT IMAGE OTHER --mutual
    python tools/analysis_tools/draw_regions.py CHECKPOINT IMAGE --query 3 5

Without OTHER the image is matched with its grey mirror image, for which the right pairs
are known. --query draws the attention of one token, head by head; in Swin it covers
only the token's window, and the rest is hatched.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from mmtlalign.compat.files import check_file
from mmtlalign.errors import short_errors
from tools.analysis_tools.options import add_network_options

# Imports of PyTorch come after the command line is read.
if TYPE_CHECKING:
    from torch import Tensor

    from mmtlalign.evaluation.frozen_features import FrozenFeatures

MASKED = 1e-30


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('checkpoint', help='checkpoint of EsViT or of any classifier')
    add('image', help='image file')
    add('other', nargs='?', help='another image file; default: the mirrored image')
    add('--pairs', type=int, default=10, help='number of region pairs to draw')
    add(
        '--mutual',
        action='store_true',
        help="draw only pairs that are each other's nearest",
    )
    add(
        '--mass', type=float, default=0.6, help='fraction of the attention mass to draw'
    )
    add(
        '--query',
        type=int,
        nargs=2,
        metavar=('ROW', 'COL'),
        help='row and column of the query token, from 0',
    )
    add(
        '--layer',
        type=int,
        default=-1,
        help='attention layer to draw (default: -1, the last)',
    )
    add(
        '--out',
        type=Path,
        default='.',
        help='folder for the figures (<image>_regions.png, …)',
    )
    add_network_options(parser)
    args = parser.parse_intermixed_args()  # OTHER may come after options
    if args.pairs < 1 or not 0 < args.mass <= 1:
        parser.error('--pairs takes 1 or more, --mass a fraction above 0 and at most 1')
    if args.mutual and not args.other:
        parser.error('--mutual needs two images: give OTHER')
    return args


def draw(args: argparse.Namespace) -> None:
    """Measure, draw, and print the numbers."""
    for path in filter(None, (args.config, args.checkpoint, args.image, args.other)):
        check_file(path, 'file')
    from tools.analysis_tools.networks import read_network
    from tools.analysis_tools.regions import read_picture

    model, description, size = read_network(args, args.checkpoint)
    picture = read_picture(args.image, size)
    args.out.mkdir(parents=True, exist_ok=True)
    print(description)
    draw_matches(args, model, picture)
    draw_heads(args, model, picture)


def draw_matches(
    args: argparse.Namespace, model: 'FrozenFeatures', picture: np.ndarray
) -> None:
    """Draw and print the regions of the two images that are most alike."""
    from tools.analysis_tools.region_figures import draw_pairs
    from tools.analysis_tools.regions import (
        find_matches,
        find_pairs,
        normalised,
        read_picture,
        second_view,
    )

    size = len(picture)
    other = read_picture(args.other, size) if args.other else second_view(picture)
    images = normalised([picture, other], model.data_preprocessor)
    name = args.out / Path(args.image).stem
    if args.other:
        found = find_matches(model.backbone, images, args.pairs, args.mutual)
        path = f'{name}_{Path(args.other).stem}_regions.png'
        kind = 'mutual pairs' if args.mutual else 'pairs'
        title = f'The {len(found.ends)} {kind} of regions that are most alike'
        draw_pairs(picture, other, found.ends, path, title)
        print(f'{len(found.ends)} {kind} of {found.regions} regions, cosines:')
        print(' '.join(f'{cosine:.3f}' for cosine in found.similarities))
    else:
        (found,) = find_pairs(model.backbone, images[:1], images[1:], args.pairs)
        path = f'{name}_regions.png'
        title = (
            f'The {len(found.ends)} regions that are most alike: {found.accuracy:.0%} '
            f'at the same place, {found.distance:.1f} px away on average'
        )
        draw_pairs(picture, other, found.ends, path, title, found.right)
        side = round(found.regions**0.5)
        print(
            f'{len(found.ends)} pairs of {side}x{side} regions: accuracy '
            f'{found.accuracy:.2f}, distance {found.distance:.1f} px'
        )
    print(path)


def draw_heads(
    args: argparse.Namespace, model: 'FrozenFeatures', picture: np.ndarray
) -> None:
    """Draw and print what the heads of a layer look at."""
    from mmtlalign.evaluation.attention_maps import read_attention
    from mmtlalign.evaluation.regions import attention_entropy
    from tools.analysis_tools.region_figures import draw_attention
    from tools.analysis_tools.regions import normalised

    images = normalised([picture], model.data_preprocessor)
    (attention,) = read_attention(model.backbone, images, [args.layer])
    name = args.out / Path(args.image).stem
    if args.query:
        row, column = args.query
        maps = attention.query_map(row, column)[0].numpy()
        # The mask of a shifted window leaves less than e^-99 of a masked weight.
        maps[:, maps.max(axis=0) < MASKED] = np.nan
        bits = attention_entropy(query_rows(maps)).tolist()
        path = f'{name}_query_{row}_{column}.png'
        draw_attention(picture, maps, bits, path, args.mass, (row, column))
        print(f'token ({row}, {column}) of {maps.shape[1]}x{maps.shape[2]}, ', end='')
    else:
        maps = attention.maps()[0].numpy()
        bits = attention_entropy(attention.weights).mean(dim=0).tolist()
        path = f'{name}_attention.png'
        draw_attention(picture, maps, bits, path, args.mass)
    most = np.log2(attention.weights.shape[-1])
    text = ' '.join(f'{value:.2f}' for value in bits)
    print(
        f'attention entropy {np.mean(bits):.2f} of at most {most:.2f} bits; heads: '
        f'{text}\n{path}'
    )


def query_rows(maps: np.ndarray) -> 'Tensor':
    """Turn the maps (heads, h, w) of a query into rows (heads, 1, N) that sum to 1."""
    import torch

    rows = torch.from_numpy(maps).nan_to_num(0.0).flatten(1)[:, None]
    return rows / rows.sum(dim=-1, keepdim=True)


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with short_errors(args.config or args.checkpoint):
        draw(args)


if __name__ == '__main__':
    main()
