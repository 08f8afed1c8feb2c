"""Rename the weights of an official checkpoint to this package's names, or back."""

import argparse
import sys
from pathlib import Path

import torch

from mmtlalign.engine.checkpoint_file import read_tensors
from mmtlalign.engine.errors import InputError
from mmtlalign.engine.weight_names import FAMILIES, convert

# What holds the weights in a file of an official code base, and in ours.
OFFICIAL = ('model', 'state_dict')
OURS = ('state_dict',)


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'family', choices=sorted(FAMILIES), help='whose names the official file has'
    )
    parser.add_argument('source', metavar='IN', help='checkpoint to read')
    parser.add_argument('target', metavar='OUT', help='checkpoint to write')
    parser.add_argument(
        '--reverse', action='store_true', help='from our names to the official ones'
    )
    return parser.parse_args(argv)


def convert_file(family: str, source: str, target: str, reverse: bool = False) -> int:
    """Rewrite a checkpoint file; nothing but the weights is kept.

    Args:
        family: A key of :data:`FAMILIES`.
        source: File to read. Official ones hold their weights under ``model``, ours
            under ``state_dict``, or the file is the weights alone.
        target: File to write, which must not exist.
        reverse: From our names to the official ones. Defaults to False.

    Returns:
        Number of tensors.

    Raises:
        InputError: A file cannot be read or is there already, or a name is not known.
    """
    out = Path(target).expanduser()
    if out.exists():
        raise InputError(f'{out} is there already; name a new file, or remove it.')
    advice = f'Name the checkpoint to convert: convert_weights.py {family} IN OUT'
    under = OURS if reverse else OFFICIAL
    tensors = convert(read_tensors(source, 'IN', advice, under), family, reverse)
    out.parent.mkdir(parents=True, exist_ok=True)
    meta = dict(converted_from=Path(source).name, family=family, reverse=reverse)
    torch.save({'model' if reverse else 'state_dict': tensors, 'meta': meta}, out)
    return len(tensors)


def main():
    """Convert."""
    args = parse_args()
    try:
        count = convert_file(args.family, args.source, args.target, args.reverse)
    except InputError as error:
        sys.exit(f'error: {error}')
    print(f'{count} tensors written to {args.target}')


if __name__ == '__main__':
    main()
