"""Test sets of ImageNet classifiers (C, A, R, O, Sketch, V2, ReaL), and CIFAR-10-C."""

import re
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from mmtlalign.compat.image_files import is_hidden
from mmtlalign.datasets.corrupted import CORRUPTIONS, SEVERITIES, SIDE
from mmtlalign.datasets.imagenet_classes import (
    describe_folders,
    real_labels,
    subset_labels,
    wordnet_ids,
)
from mmtlalign.datasets.imagenet_variants import V2_VARIANTS
from mmtlalign.evaluation.corruptions import EXTRA_CORRUPTIONS
from tools.dataset_converters.prepare.archives import (
    Archives,
    check_free_space,
    unpack,
    unpacked_size,
)
from tools.dataset_converters.prepare.check_report import CheckReport
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.images import (
    check_class_folders,
    check_files,
    list_files,
    sample,
)

AGAIN = 'unpack the archive again'


def check_names(report: CheckReport, what: str, found: Collection, own: set) -> None:
    """Report class folders that are missing, or that belong to another set."""
    likeness = describe_folders(found)
    if likeness == describe_folders(own):
        likeness = ''
    other = [f'it looks like {likeness}'] if likeness else sorted(set(found) - own)
    report.faults(f'{what}: of another set', other, len(found), 'see below')
    if not report.subset:
        missing = sorted(own - set(found))
        report.faults(f'{what}: classes missing', missing, len(own), AGAIN)


def check_classes(report: CheckReport, published: dict) -> None:
    """Check the class folders of a test set by name."""
    own = set(published['folders']())
    images = published['images'] or len(list_files(report.root))
    found = check_class_folders(report, '', images, len(own))
    check_names(report, report.root.name, found, own)


def check_v2(report: CheckReport, published: dict) -> None:
    """Check every variant that exists, or all three unless a part is enough."""
    there = sorted(p.name for p in report.root.glob('imagenetv2-*') if p.is_dir())
    report.count('variants', len(there), len(V2_VARIANTS))
    own = {str(number) for number in range(published['classes'])}
    for name in there:
        found = check_class_folders(report, name, published['images'], len(own))
        check_names(report, name, found, own)


def check_c(report: CheckReport, published: dict) -> None:
    """Check each of the 15 corruptions, and those of the four extra ones that exist."""
    own, images = set(published['folders']()), published['images'] * len(SEVERITIES)
    for name in (*CORRUPTIONS, *EXTRA_CORRUPTIONS):
        places = [report.root / name, *sorted(report.root.glob(f'*/{name}'))]
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            if name in CORRUPTIONS:
                report.exists(name, 'unpack the archive that holds it')
            continue
        files = list_files(folder)
        report.count(f'{name}: images', len(files), images)
        cells = {PurePosixPath(file).parent.as_posix() for file in files}
        wanted = {f'{level}/{wnid}' for level in SEVERITIES for wnid in own}
        missing = [] if report.subset else sorted(wanted - cells)
        report.faults(f'{name}: missing', missing, len(wanted), AGAIN)
        report.faults(f'{name}: others', sorted(cells - wanted), len(cells), AGAIN)
        check_files(report, name, files, folder)
        some = sample([file for file, size in files.items() if size], report.full)
        resized = [file for file in some if side_of(folder / file) not in (SIDE, 0)]
        remedy = 'the published images are cropped to 224; unpack them again'
        report.faults(f'{name}: not 224 pixels', resized, len(some), remedy)


def side_of(path: Path) -> int:
    """Return the side of a square picture, -1 if it is not one, 0 if it is broken."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except OSError:
        return 0
    return width if width == height else -1


def check_real(report: CheckReport, published: dict) -> None:
    """Check that the validation pictures have the names by which labels are found."""
    if not report.exists('val', 'make it with prepare_data.py imagenet'):
        return
    files, labels = list_files(report.root / 'val'), real_labels()
    report.count('val: images', len(files), published['images'])
    pattern = re.compile(r'(?:.*/)?ILSVRC2012_val_(\d{8})\.\w+')
    matches = {file: pattern.fullmatch(file) for file in files}
    numbers = [int(match[1]) for match in matches.values() if match]
    numbers = [number for number in numbers if 1 <= number <= len(labels)]
    other = [file for file, match in matches.items() if not match]
    remedy = 'keep the official names, ILSVRC2012_val_00000001.JPEG'
    report.faults('val: other names', other, len(files), remedy)
    labelled = sum(bool(labels[number - 1]) for number in numbers)
    report.count('val: images with a label', labelled, published['labelled'])


def check_cifar_c(report: CheckReport, published: dict) -> None:
    """Check the shape of the array of each corruption, and the labels."""
    size = published['images'] * len(SEVERITIES)
    shapes = dict.fromkeys(CORRUPTIONS, (size, 32, 32, 3)) | dict(labels=(size,))
    for name, shape in shapes.items():
        if not report.exists(f'{name}.npy', AGAIN):
            continue
        try:
            array = np.load(report.root / f'{name}.npy', mmap_mode='r')
        except (OSError, ValueError) as error:
            report.faults(f'{name}.npy', [str(error)], 1, AGAIN)
            continue
        fault = [f'{array.shape} {array.dtype}, not {shape} uint8']
        right = array.shape == shape and array.dtype == np.uint8
        report.faults(f'{name}.npy', [] if right else fault, 1, AGAIN)
        if right and name == 'labels':
            blocks = array.reshape(len(SEVERITIES), -1)
            report.faults(
                'labels: not the same for each severity',
                [n for n in SEVERITIES if (blocks[n - 1] != blocks[0]).any()],
                len(SEVERITIES),
                AGAIN,
            )
            beyond = np.unique(array[array >= published['classes']]).tolist()
            report.faults('labels beyond the classes', beyond, size, AGAIN)


def build(
    folder: Path, archives: Archives, published: dict, names: str, parts: int
) -> None:
    """Unpack the existing archives, each file under the last parts of its name.

    Args:
        folder: Folder to fill.
        archives: Archives of the user.
        published: Published numbers; not used.
        names: Patterns of archives, one of which is enough.
        parts: Number of parts of a name that are kept; a file with fewer, such as a
            README, is left out.
    """
    patterns = names.split(', ')
    found = [path for p in patterns for path in sorted(archives.folder.glob(p))]
    if not found:
        archives.find(*patterns)
    check_free_space(folder, sum(map(unpacked_size, found)))
    for archive in found:
        unpack(archive, folder, partial(last_parts, count=parts))


def last_parts(name: str, count: int) -> str | None:
    """Return the last parts of a name; None for hidden files and for fewer parts."""
    parts = [part for part in name.split('/') if part not in ('', '.')]
    picture = count == 1 or parts[-1].lower().endswith(('.jpg', '.jpeg', '.png'))
    if len(parts) < count or not picture or is_hidden('/'.join(parts)):
        return None
    return '/'.join(parts[-count:])


def _data_set(
    name: str, title: str, source: str, archives: str, parts: int, check: Callable,
    **published: object,
) -> DataSet:  # fmt: skip
    """Return a data set whose archives are unpacked as they are."""
    return DataSet(
        title=title,
        root=f'data/{name}',
        source=source,
        published=published,
        check=check,
        build=partial(build, names=archives, parts=parts),
        archives=archives,
    )


ADVERSARIAL = 'https://github.com/hendrycks/natural-adv-examples'
CORRUPTED = 'https://github.com/hendrycks/robustness'
IMAGENET_A = _data_set(
    'imagenet-a',
    'ImageNet-A',
    ADVERSARIAL,
    'imagenet-a.tar',
    parts=2,
    check=check_classes,
    images=7500,
    folders=partial(subset_labels, 'a'),
)
IMAGENET_O = _data_set(
    'imagenet-o',
    'ImageNet-O',
    ADVERSARIAL,
    'imagenet-o.tar',
    parts=2,
    check=check_classes,
    images=2000,
    folders=partial(subset_labels, 'o'),
)
IMAGENET_R = _data_set(
    'imagenet-r',
    'ImageNet-R',
    'https://github.com/hendrycks/imagenet-r',
    'imagenet-r.tar',
    parts=2,
    check=check_classes,
    images=30000,
    folders=partial(subset_labels, 'r'),
)
# The authors say 50,000 pictures, but their archive has 50,889, so it is not compared.
IMAGENET_SKETCH = _data_set(
    'imagenet-sketch',
    'ImageNet-Sketch',
    'https://github.com/HaohanWang/ImageNet-Sketch',
    'ImageNet-Sketch.zip',
    parts=2,
    check=check_classes,
    images=None,
    folders=wordnet_ids,
)
IMAGENET_V2 = _data_set(
    'imagenetv2',
    'ImageNetV2 (three sets)',
    'https://github.com/modestyachts/ImageNetV2',
    'imagenetv2-*.tar.gz',
    parts=3,
    check=check_v2,
    images=10000,
    classes=1000,
)
IMAGENET_C = _data_set(
    'imagenet-c',
    'ImageNet-C',
    CORRUPTED,
    'noise.tar, blur.tar, weather.tar, digital.tar, extra.tar',
    parts=4,
    check=check_c,
    images=50000,
    folders=wordnet_ids,
)
CIFAR10_C = _data_set(
    'cifar10-c',
    'CIFAR-10-C',
    CORRUPTED,
    'CIFAR-10-C.tar',
    parts=1,
    check=check_cifar_c,
    images=10000,
    classes=10,
)
IMAGENET_REAL = DataSet(
    title='ImageNet ReaL (labels of the validation images)',
    root='data/imagenet',
    source='images: prepare_data.py imagenet; the labels come with timm, and are those '
    'of https://github.com/google-research/reassessed-imagenet',
    published=dict(images=50000, labelled=46837),
    check=check_real,
)
