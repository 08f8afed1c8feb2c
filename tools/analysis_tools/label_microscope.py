"""Write a label microscope: one HTML file that shows where labels go."""

import argparse
import hashlib
import sys
from pathlib import Path

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
    add('config', help='config of a classifier')
    add('checkpoint', nargs='?', help='weights; without it the weights are random')
    add('--pairs', type=int, default=16, help='number of mixed images (default: 16)')
    add('--seed', type=int, default=0, help='seed of images, masks and random weights')
    add('--out', type=Path, default='microscope.html', metavar='FILE.html')
    add(
        '--images',
        metavar='DIR',
        help='use other images: one folder per class, or images without classes, whose '
        'labels are then the predictions for the whole images',
    )
    add(
        '--split',
        choices=('train', 'val', 'test'),
        default='val',
        help="split to take images and pipeline from; 'train' loads the label maps of "
        'Token Labeling',
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
    if args.pairs < 1:
        parser.error('--pairs takes 1 or more')
    return args


def write(args: argparse.Namespace) -> Path:
    """Write the page that the command line asks for, and return its path."""
    from mmtlalign.engine.console import filter_known_warnings

    filter_known_warnings()
    from mmengine.device import get_device

    from mmtlalign.evaluation.classifier import load_classifier
    from mmtlalign.evaluation.microscope import (
        Page,
        describe_config,
        make_pairs,
        write_page,
    )
    from mmtlalign.evaluation.microscope.source import config_data, known_classes
    from mmtlalign.validation.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    model, kind = load_classifier(cfg, args.checkpoint, args.weights, args.seed)
    weights = f'random weights (seed {args.seed}), not trained'
    if args.checkpoint:
        weights = Path(args.checkpoint).name + ', averaged (ema)' * (kind == 'ema')
    classes = model.head.num_classes
    dataset, collate = config_data(cfg, classes, args.split, args.images)
    geometry, pairs = make_pairs(
        model.to(get_device()), dataset, collate, args.pairs, args.seed
    )
    where = Path(args.images).name if args.images else f'the {args.split} split'
    data = f'{len(dataset)} of {where}'
    if not getattr(dataset, 'with_label', True):
        data += '; classes as the model predicts them for whole images'
    about = describe_config(cfg, model) | dict(
        weights=weights, data=f'{data}, seed {args.seed}'
    )
    if args.checkpoint:
        content = Path(args.checkpoint).expanduser().read_bytes()
        about |= dict(hash=hashlib.sha256(content).hexdigest())
    page = Page(geometry, pairs, known_classes(cfg, model, dataset), about)
    return write_page(page, args.out)


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with short_errors(args.config):
        check_file(args.config, 'config')
        if args.checkpoint:
            check_file(args.checkpoint, 'checkpoint')
        path = write(args)
    print(path)


if __name__ == '__main__':
    main()
