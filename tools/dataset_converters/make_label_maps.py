"""Make dense label maps of the images of a folder with a classifier.

Run it again if it was killed, or if a file was damaged: finished files are verified and
kept, and missing ones are made. --dry-run prints how large the result will be.
"""

import argparse
import sys
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmtlalign.errors import InputError

# Imports of PyTorch come after the command line is read.


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('images', type=Path, help='folder of the images, such as data/imagenet/train')
    add('out', type=Path, help='folder of the label map store')
    add(
        '--annotator',
        required=True,
        help='network that makes the maps: timm:NAME or mmpretrain:NAME',
    )
    add(
        '--checkpoint',
        help='weights of the annotator; default: those its library publishes',
    )
    add(
        '--size',
        type=int,
        nargs='+',
        default=[224],
        help='input size in pixels: side, or rows and columns (default: 224)',
    )
    add('--mean', type=float, nargs=3, help='mean of R, G, B, in 0 to 1')
    add('--std', type=float, nargs=3, help='standard deviation of R, G, B, in 0 to 1')
    add('--classes', type=Path, help="file with the annotator's classes, one per line")
    add('--topk', type=int, default=5, help='classes kept per cell (default: 5)')
    add(
        '--centre-crop',
        action='store_true',
        help='annotate the centre crop, as the official code does',
    )
    add(
        '--shard-size',
        type=int,
        default=4096,
        help='images per file of the store (default: 4096)',
    )
    add('--batch-size', type=int, default=32)
    add('--workers', type=int, default=2, help='processes that read images')
    add('--device', help='default: cuda if there is one, else cpu')
    add('--part', default='0/1', help='I/N: run as process I of N that share the work')
    add('--dry-run', action='store_true', help='only print the size of the store')
    args = parser.parse_args(argv)
    try:
        args.part = tuple(map(int, args.part.split('/')))
        first, parts = args.part
    except ValueError:
        parser.error(f'--part {args.part}: write I/N, such as 0/4')
    if not 0 <= first < parts:
        parser.error(f'--part {first}/{parts}: I must be from 0 to N-1')
    if len(args.size) > 2 or min(args.size) < 1:
        parser.error(f'--size {args.size}: give one side, or rows and columns')
    if args.workers < 0:
        parser.error('--workers takes a number from 0 on')
    return args


def run(args: argparse.Namespace) -> None:
    """Plan, annotate and verify."""
    if not args.images.is_dir():
        raise InputError(f"'{args.images}' is not a folder of images; check the path")
    import torch

    from mmtlalign.methods.token_labeling.annotators import build_annotator
    from mmtlalign.methods.token_labeling.store import create_store
    from tools.dataset_converters.label_maps import make
    from tools.dataset_converters.label_maps.images import AnnotatorImages, list_images

    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    size = tuple(args.size) if len(args.size) == 2 else (args.size[0],) * 2
    images = AnnotatorImages(
        args.images, list_images(args.images), size, args.centre_crop
    )
    annotator = build_annotator(
        args.annotator, args.checkpoint, args.mean, args.std, size
    )
    annotator.model.to(args.device)
    if args.classes and not args.classes.is_file():
        raise InputError(f'--classes {args.classes} does not exist; name another file')
    classes = None
    if args.classes:
        classes = args.classes.read_text(encoding='utf-8-sig').splitlines()
    metadata = make.plan_store(
        images, annotator, args.topk, args.shard_size, classes, args.device
    )
    print(make.estimate(metadata)[1])
    if args.dry_run:
        return
    # With several processes, only the first one removes damaged files.
    if args.part[0] == 0:
        store = create_store(args.out, metadata, images.names)
        make.verify(store, remove=True)
        shards = metadata.shards
        finished = shards - len(store.missing_shards())
        if finished:
            print(f'{finished} of {shards} files already exist and are verified')
    store = make.annotate(
        args.out,
        images,
        annotator,
        metadata,
        args.batch_size,
        args.workers,
        args.part,
        args.device,
    )
    damaged, missing = make.verify(store), store.missing_shards()
    if damaged:
        raise InputError(
            f'{len(damaged)} files of {args.out} are damaged right after they were '
            'written: check the disk, then run this again.'
        )
    if missing:
        print(f'{len(missing)} of {metadata.shards} files are left to other parts.')
        return
    print(f'{len(store)} label maps in {args.out}, all checksums fit.')


def main() -> None:
    """Run the tool; an error of the user ends it with one line."""
    try:
        run(parse_args())
    except InputError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('\nstopped: run it again to continue')


if __name__ == '__main__':
    main()
