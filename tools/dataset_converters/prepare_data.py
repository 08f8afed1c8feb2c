"""Check the folder of a data set; make it from its archives if it is not there.

A folder that exists is only checked: counts, classes, broken files, class ids of masks,
in one table; the exit status is 1 if something is wrong. A folder that does not exist
is made from the archives in --archives; CIFAR and Fashion-MNIST are downloaded. It gets
its name only when it is complete.
"""

import argparse
import signal
import sys
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmtlalign.errors import InputError

# Names in tools.dataset_converters.prepare, which imports PyTorch and so is imported
# after the command line is read.
NAMES = (
    *('imagenet', 'imagenette', 'ade20k', 'camvid', 'pascal-context', 'coco'),
    *('cifar10', 'cifar100', 'fashion-mnist', 'flowers102', 'stanford-cars'),
    *('domainnet', 'imagenet-c', 'imagenet-a', 'imagenet-r', 'imagenet-o'),
    *('imagenet-sketch', 'imagenetv2', 'imagenet-real', 'cifar10-c'),
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('name', choices=NAMES)
    parser.add_argument(
        '--root',
        type=Path,
        metavar='DIR',
        help='data folder to make or check (default: the one in the configs)',
    )
    parser.add_argument(
        '--archives',
        type=Path,
        metavar='DIR',
        help='folder with the downloaded archives',
    )
    parser.add_argument(
        '--check-only', action='store_true', help='only check an existing folder'
    )
    parser.add_argument(
        '--full', action='store_true', help='decode every file, not a sample of 200'
    )
    parser.add_argument(
        '--subset', action='store_true', help='accept a part of the published data'
    )
    parser.add_argument(
        '--address',
        metavar='URL',
        help='mirror to download from, instead of the official address',
    )
    return parser.parse_args()


def main() -> None:
    """Make the folder if it does not exist, and check it."""
    args = parse_args()
    # An exit, unlike the signal itself, removes unfinished files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    from tools.dataset_converters.prepare import DATA_SETS
    from tools.dataset_converters.prepare.data_set import check_data_set, make_data_set

    data = DATA_SETS[args.name]
    root = args.root or Path(data.root)
    try:
        if not args.check_only and not root.exists():
            make_data_set(data, root, args.archives, args.address)
        elif args.archives and not args.check_only:
            print(f'{root} exists: it is only checked, and nothing is unpacked.')
        passed = check_data_set(data, root, args.subset, args.full)
    except InputError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('\nstopped; unfinished files were removed')
    sys.exit(0 if passed else 1)


if __name__ == '__main__':
    main()
