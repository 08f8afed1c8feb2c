"""Command-line options that several tools of this folder share."""

import argparse

from mmtlalign.compat.own_configs import DictAction
from tools.analysis_tools.knn import WEIGHT_CHOICES


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the weights of a checkpoint and for the image size."""
    add = parser.add_argument
    add('--config', help='config of the run, if the checkpoint does not contain it')
    add(
        '--weights',
        choices=WEIGHT_CHOICES[:-1],
        default='auto',
        help='weights to use: teacher or student of EsViT, raw or ema of a classifier; '
        'auto: teacher, else ema, else raw',
    )
    add(
        '--size',
        type=int,
        help='side of the image in pixels; default: that of the test pipeline of the '
        'config, else img_size of its backbone, else that of its training, else 224',
    )
    add('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')


def positive(text: str) -> int:
    """Return the number of an option that takes 1 or more."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text}: must be 1 or more')
    return int(text)


def add_random_options(
    parser: argparse.ArgumentParser, drawn: str = 'random weights'
) -> None:
    """Add the options for a control with random weights and for a folder of images.

    Args:
        parser: Gets the options.
        drawn: What the seed determines, for the help.
    """
    add = parser.add_argument
    add('--random', action='store_true', help='use random weights with --config')
    add('--seed', type=int, default=0, help=f'seed of {drawn}')
    add('--limit', type=positive, help='use at most this many images, evenly spaced')


def check_random(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with an error unless a checkpoint is named, or random weights of a config."""
    if args.random == bool(args.checkpoint) or (args.random and not args.config):
        parser.error('name a CHECKPOINT, or --random with --config FILE')
