"""Show the next mixed batches of a recipe: pictures, masks and shares."""

import argparse
import sys
from pathlib import Path
from typing import Any

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmtlalign.compat.files import check_file
from mmtlalign.compat.own_configs import DictAction
from mmtlalign.errors import short_errors

# Imports of PyTorch come after the command line is read.


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', help='config of a classifier that mixes batches')
    add('--batches', type=int, default=1, help='number of batches to draw (default: 1)')
    add(
        '--images',
        type=int,
        default=8,
        help='number of images to show of each batch (default: 8)',
    )
    add(
        '--checkpoint',
        metavar='FILE',
        help='weights, to show the traced label shares too',
    )
    add('--out', type=Path, default=Path('batches'), metavar='DIR')
    add(
        '--seed',
        type=int,
        default=0,
        help='seed of the order of images and of all random draws',
    )
    add(
        '--weights',
        choices=('auto', 'raw', 'ema'),
        default='auto',
        help='weights to use: raw, or ema (averaged by EMAHook); auto: ema if the file '
        'has them',
    )
    add('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args()
    if args.batches < 1 or args.images < 1:
        parser.error('--batches and --images take 1 or more')
    return args


def browse(args: argparse.Namespace) -> None:
    """Draw the batches, write the pictures and print the numbers."""
    from mmtlalign.engine.console import filter_known_warnings

    filter_known_warnings()
    from mmengine.device import get_device

    from mmtlalign.evaluation.classifier import load_classifier
    from mmtlalign.evaluation.mixed_batches import describe_images, mixed_batches
    from mmtlalign.validation.config import load_config
    from tools.analysis_tools.batch_figure import draw_batch
    from tools.output import format_table

    cfg = load_config(args.config, args.cfg_options)
    model, _ = load_classifier(cfg, args.checkpoint, args.weights, args.seed)
    model.to(get_device())
    batches = mixed_batches(cfg, model, args.batches, args.seed)
    for number, batch in enumerate(batches, 1):
        rows = describe_images(model, batch, args.images, args.checkpoint is not None)
        args.out.mkdir(parents=True, exist_ok=True)
        path = args.out / f'batch_{number}.png'
        draw_batch(rows, path, batch.known)
        area = batch.mix.area()
        print(
            f'batch {number}: {len(area)} images of {batch.before.shape[-2]}x'
            f'{batch.before.shape[-1]} pixels'
            + (f', {batch.skipped} batches before it not mixed' * bool(batch.skipped))
        )
        if batch.known:
            print(f'area: mean {area.mean():.3f}, {area.min():.3f} to {area.max():.3f}')
        else:
            print(
                'the augment does not record its mask: the area is taken from the '
                'labels'
            )
        print(format_table(number_table(rows, batch.known), left=(0, 1)))
        print(path)


def number_table(rows: list[Any], known: bool) -> list[list[str]]:
    """Return the numbers of the images as cells of a table, the headings first.

    Args:
        rows: The images.
        known: Whether their partners are known.
    """
    headings = ['image', 'partner', 'classes', 'area']
    headings += ['traced'] * (rows[0].traced is not None)
    headings += ['learnt'] * (rows[0].target is not None)
    table = [headings]
    for index, row in enumerate(rows):
        own, partner = row.classes
        cells = [row.files[0] or str(index), row.files[1] if known else '?']
        cells += [f'{own}, {partner if known else "?"}', f'{row.area:.3f}']
        cells += [f'{row.traced:.3f}'] if row.traced is not None else []
        if row.target is not None:
            cells += [f'{row.target[0]:.3f} + {row.target[1]:.3f}']
        table.append(cells)
    return table


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with short_errors(args.config):
        check_file(args.config, 'config')
        if args.checkpoint:
            check_file(args.checkpoint, 'checkpoint')
        browse(args)


if __name__ == '__main__':
    main()
