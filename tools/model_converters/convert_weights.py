"""Rename the weights of an official checkpoint to this package's names, or back."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmtlalign.compat.files import check_file
from mmtlalign.errors import InputError, some_of

# Copies of texts in mmtlalign.checkpoint.key_maps, which imports PyTorch and so is
# imported after the command line is read.
FAMILIES = dict(
    deit='official DeiT and distilled DeiT',
    dhvt='official DHVT',
    esvit='official EsViT with Swin (--key student for the student)',
    lvvit='official LV-ViT (TokenLabeling)',
    mmseg_vit="mmseg's own VisionTransformer",
    pvt='official PVT (the first version)',
    swin='official Swin Transformer, also in timm before 0.9',
    timm_swin="timm's SwinTransformer, from 0.9 on",
    timm_vit="timm's VisionTransformer and VisionTransformerDistilled",
    timm_xcit="timm's Xcit",
    tlalign='official TL-Align',
    transmix='official TransMix',
    xcit='official XCiT',
)
# Entry for the weights in files that we write.
OURS = 'state_dict'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    families = '\n'.join(f'  {n:11}{FAMILIES[n]}' for n in sorted(FAMILIES))
    parser = argparse.ArgumentParser(
        description=f'{__doc__}\n\nfamilies:\n{families}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'family',
        choices=sorted(FAMILIES),
        metavar='FAMILY',
        help='code base whose parameter names the official file has',
    )
    parser.add_argument('source', metavar='IN', help='checkpoint to read')
    parser.add_argument(
        'target', metavar='OUT', help='checkpoint to write: .pth or .safetensors'
    )
    parser.add_argument(
        '--reverse',
        action='store_true',
        help='convert from our names to the official ones',
    )
    parser.add_argument(
        '--key', help='entry of IN that holds the weights, e.g. model_ema, student'
    )
    return parser.parse_args(argv)


def convert_file(
    family: str, source: str, target: str, reverse: bool = False, key: str | None = None
) -> list[str]:
    """Convert a checkpoint file, keeping nothing but the weights.

    Args:
        family: A key of :data:`FAMILIES`.
        source: File to read. Official files hold their weights under an entry in the
            family's table, ours under ``state_dict``; or the file is the weights alone.
        target: File to write, which must not exist.
        reverse: Whether to convert from our names to the official ones. Defaults to
            False.
        key: The entry of ``source`` to read, if not the usual one.

    Returns:
        Lines about what was done.

    Raises:
        InputError: ``source`` cannot be read, ``target`` exists, or a name is not
            known.
    """
    import torch

    from mmtlalign.checkpoint.convert import convert, left_out, unwrap
    from mmtlalign.checkpoint.io import (
        check_target,
        read_checkpoint,
        tensors_in,
        write_tensors,
    )
    from mmtlalign.checkpoint.key_maps import KEY_MAPS

    if Path(source).expanduser().is_file():  # else that is said first
        check_target(target)
    entries = KEY_MAPS[family].entries
    advice = f'Name the checkpoint to convert: convert_weights.py {family} IN OUT'
    keys = (key,) if key else (OURS,) if reverse else entries
    content = read_checkpoint(source, 'IN', advice)
    tensors, lines = tensors_in(content, source, keys, bare=not key), []
    others = [
        name
        for name, value in content.items()
        if isinstance(value, dict) and value and value is not tensors
        if all(map(torch.is_tensor, value.values()))
    ]
    if others and not (key or reverse):
        lines.append(
            f'the file also holds weights under {some_of(others)}, such as averaged '
            f'ones; choose them with --key {others[0]}'
        )
    if not reverse:
        tensors, wrappers = unwrap(tensors, family)
        lines += [f'removed {w!r} from {n} names' for w, n in wrappers.items()]
    skipped = left_out(tensors, family, reverse)
    if skipped:
        lines.append(f'{len(skipped)} tensors left out: {some_of(skipped)}')
    tensors = convert(tensors, family, reverse)
    meta = dict(converted_from=Path(source).name, family=family, reverse=reverse)
    write_tensors(target, tensors, meta, entries[0] if reverse else OURS)
    return [*lines, f'{len(tensors)} tensors written to {target}']


def main() -> None:
    """Convert a file and print what was done."""
    args = parse_args()
    try:
        check_file(args.source, 'IN')
        lines = convert_file(
            args.family, args.source, args.target, args.reverse, args.key
        )
    except InputError as error:
        sys.exit(f'error: {error}')
    print('\n'.join(lines))


if __name__ == '__main__':
    main()
