"""Check data of your own before training: folders of classes, masks, or COCO files.

    python tools/dataset_converters/check_data.py classes DIR
    python tools/dataset_converters/check_data.py masks DIR --classes 3
    python tools/dataset_converters/check_data.py coco DIR

Writes nothing. The status is 0 if all is in order, 1 if not.
"""

import argparse
import sys
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest='kind', required=True)
    classes = kinds.add_parser(
        'classes', help='classification: class folders SPLIT/CLASS/*'
    )
    masks = kinds.add_parser('masks', help='segmentation: images and label maps')
    coco = kinds.add_parser('coco', help='detection: COCO json files')
    for one in (classes, masks, coco):
        one.add_argument('root', type=Path, metavar='DIR')
        one.add_argument(
            '--full', action='store_true', help='read every file, not a sample of 200'
        )
    classes.add_argument('--splits', nargs='+', default=['train', 'val'])
    classes.add_argument(
        '--extensions',
        nargs='+',
        default=['.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif'],
        metavar='SUFFIX',
        help='suffixes of the images: extensions of the data set',
    )
    classes.add_argument(
        '--images-per-class',
        type=int,
        metavar='N',
        help='what every class must have; default: at least one image',
    )
    masks.add_argument(
        '--splits',
        nargs='+',
        default=['train:trainannot', 'val:valannot'],
        metavar='IMAGES:MASKS',
        help='folders of the images and of their masks',
    )
    masks.add_argument('--classes', type=int, required=True, metavar='N')
    masks.add_argument(
        '--img-suffix',
        default='.jpg',
        help='suffix of the images: img_suffix of the data set',
    )
    masks.add_argument(
        '--seg-map-suffix',
        default='.png',
        help='suffix of the masks: seg_map_suffix of the data set',
    )
    masks.add_argument(
        '--reduce-zero-label',
        action='store_true',
        help='id 0 means void, and classes start at 1',
    )
    masks.add_argument(
        '--ignore', type=int, nargs='*', default=[], help='other ids to ignore'
    )
    coco.add_argument(
        '--splits',
        nargs='+',
        default=[
            f'annotations/instances_{s}2017.json:{s}2017' for s in ('train', 'val')
        ],
        metavar='JSON:IMAGES',
        help='annotation files and the folders of their images',
    )
    args = parser.parse_args(argv)
    if args.kind == 'masks' and args.classes < 1:
        parser.error(f'--classes {args.classes}: give the number of classes, 1 or more')
    return args


def main(argv: list[str] | None = None) -> None:
    """Check and print a table."""
    args = parse_args(argv)
    if not args.root.is_dir():
        sys.exit(f'error: {args.root} is not a folder')
    # After the command line is read, because they import PyTorch.
    from tools.dataset_converters.prepare import own_data
    from tools.dataset_converters.prepare.check_report import CheckReport
    from tools.output import open_console

    report = CheckReport(args.root, full=args.full, again='replace them')
    if args.kind == 'classes':
        own_data.check_classes(
            report, args.splits, args.extensions, args.images_per_class
        )
    elif args.kind == 'masks':
        own_data.check_segmentation(report, args)
    else:
        own_data.check_coco(report, args.splits)
    console = open_console()
    report.show(console)
    passed = bool(report.rows) and report.passed
    console.print('All in order.' if passed else 'Not in order.')
    sys.exit(0 if passed else 1)


if __name__ == '__main__':
    main()
