"""Write the backbone of a checkpoint to a clean file: its tensors and metadata."""

import argparse
import sys
from collections.abc import Sequence

from mmtlalign.compat.files import check_file
from mmtlalign.errors import InputError

# Copies of choices in mmtlalign.checkpoint, which imports PyTorch and so is imported
# after the command line is read.
WEIGHTS = ('auto', 'raw', 'ema', 'teacher', 'student')
FORMATS = ('mmpretrain', 'timm', 'mmdet', 'mmseg')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='checkpoint of a training run')
    parser.add_argument(
        'out', metavar='OUT', help='file to write: .pth or .safetensors'
    )
    parser.add_argument(
        '--weights',
        choices=WEIGHTS,
        default='auto',
        help='weights to export: raw, or ema (averaged by EMAHook); teacher or student '
        'of EsViT; auto: teacher, else ema, else raw',
    )
    parser.add_argument(
        '--prefix',
        default='backbone.',
        help="prefix of the backbone's names in the checkpoint",
    )
    parser.add_argument(
        '--format',
        choices=FORMATS,
        default='mmpretrain',
        help='parameter names to write; mmpretrain works with every OpenMMLab host',
    )
    parser.add_argument(
        '--config', help='config of the run, if the checkpoint does not contain it'
    )
    return parser.parse_args(argv)


def main() -> None:
    """Export a backbone and print what was written."""
    args = parse_args()
    try:
        check_file(args.checkpoint, 'checkpoint')
        from mmtlalign.checkpoint.export import export_backbone

        meta = export_backbone(
            args.checkpoint,
            args.out,
            args.weights,
            args.prefix,
            args.format,
            args.config,
        )
    except InputError as error:
        sys.exit(f'error: {error}')
    kind, pixels = meta['backbone']['type'], meta['normalisation']
    print(f'{args.out}: {meta["weights"]} weights of {kind}, names of {meta["layout"]}')
    epoch, iteration = meta['epoch'], meta['iteration']
    parts = [
        f'trained as {meta["method"]["model"]}',
        f'with {meta["method"]["head"]}' * bool(meta['method']['head']),
        f'epoch {epoch}' if epoch is not None else '',
        f'iteration {iteration}' if epoch is None and iteration is not None else '',
    ]
    print(', '.join(filter(None, parts)))
    size = meta['image_size']['test'] or meta['image_size']['train']
    parts = [f'sees {pixels["channel_order"] or ""} images'.replace('  ', ' ')]
    parts += [f'of {size}'] * bool(size)
    parts += [f'{k} {pixels[k]}' for k in ('mean', 'std') if pixels[k]]
    print(', '.join(parts))
    print(f'sha256 of the tensors {meta["sha256"]}')
    print(f'load it with\n{meta["load_with"].replace("FILE", args.out)}')
    for note in meta['notes']:
        print(f'note: {note}')


if __name__ == '__main__':
    main()
