"""ImageNet-1k, and Imagenette, ten of its classes."""

import io
from pathlib import Path

from mmtlalign.errors import InputError
from tools.dataset_converters.prepare.archives import (
    Archives,
    check_free_space,
    members,
    unpack,
)
from tools.dataset_converters.prepare.check_report import CheckReport
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.images import check_class_folders

TRAIN, VAL = 'ILSVRC2012_img_train.tar', 'ILSVRC2012_img_val.tar'
DEVKIT = 'ILSVRC2012_devkit_t12.tar.gz'


def check(report: CheckReport, published: dict) -> None:
    """Check both splits, class by class."""
    classes = check_class_folders(
        report, 'train', published['train'], published['classes']
    )
    others = check_class_folders(report, 'val', published['val'], published['classes'])
    if classes and others:
        # Labels are positions in the sorted list of folders of each split.
        differ = sorted(set(classes) ^ set(others))
        report.faults('classes in one split only', differ, len(classes | others))
    if (report.root / 'meta').is_dir():
        lists = [f'meta/{split}.txt' for split in ('train', 'val')]
        there = [name for name in lists if (report.root / name).exists()]
        for name in there:
            lines = (report.root / name).read_text().splitlines()
            report.count(f'{name} lines', len(lines), published[Path(name).stem])


def build(folder: Path, archives: Archives, published: dict) -> None:
    """Unpack a tar of 1000 tars, and a tar of images sorted by the devkit's labels."""
    train, val, devkit = archives.find(TRAIN, VAL, DEVKIT)
    check_free_space(folder, train.stat().st_size + val.stat().st_size)
    wnids = validation_classes(devkit)

    def place_val(name):
        """Turn ILSVRC2012_val_00000001.JPEG into val/n01751748/…."""
        file = Path(name).name
        number = file.removesuffix('.JPEG').rpartition('_')[2]
        if not number.isdigit() or not 1 <= int(number) <= len(wnids):
            raise InputError(
                f"{val}: '{name}' is not one of the {len(wnids)} validation images of "
                f'{devkit.name}; take both from the same page'
            )
        return f'val/{wnids[int(number) - 1]}/{file}'

    unpack(val, folder, place_val)
    unpack(
        train,
        folder,
        lambda name: f'train/{name.split("/")[-2]}/{Path(name).name}',
        nested=True,
    )


def validation_classes(devkit: Path) -> list[str]:
    """Return the WordNet id of each validation image, in order, from the devkit."""
    from scipy.io import loadmat

    synsets, numbers = {}, []
    for name, stream in members(devkit):
        if name.endswith('data/meta.mat'):
            table = loadmat(io.BytesIO(stream.read()), squeeze_me=True)['synsets']
            synsets = {int(row['ILSVRC2012_ID']): str(row['WNID']) for row in table}
        elif name.endswith('data/ILSVRC2012_validation_ground_truth.txt'):
            numbers = [int(line) for line in stream.read().split()]
    if not synsets or not numbers:
        raise InputError(
            f'{devkit} lacks data/meta.mat or the validation ground truth; it is not '
            'the devkit of tasks 1 and 2, download it again'
        )
    return [synsets[number] for number in numbers]


IMAGENET = DataSet(
    title='ImageNet-1k (ILSVRC 2012)',
    root='data/imagenet',
    source='https://image-net.org/download.php (after registration): training and '
    'validation images and "Development kit (Task 1 & 2)" of ILSVRC2012',
    published=dict(train=1281167, val=50000, classes=1000),
    check=check,
    build=build,
    archives=f'{TRAIN}, {VAL}, {DEVKIT}',
)


def build_imagenette(folder: Path, archives: Archives, published: dict) -> None:
    """Unpack one tar with the folders as they are."""
    (archive,) = archives.find('imagenette*.t*')
    check_free_space(folder, 2 * archive.stat().st_size)
    unpack(archive, folder, place_imagenette)


def place_imagenette(name: str) -> str | None:
    """Return train/<wnid>/<file>, without the top folder."""
    parts = name.split('/')
    if len(parts) < 3 or parts[-3] not in ('train', 'val') or parts[-1].startswith('.'):
        return None
    return '/'.join(parts[-3:])


IMAGENETTE = DataSet(
    title='Imagenette (version 2)',
    root='data/imagenette224',
    source='https://github.com/fastai/imagenette (any size of version 2)',
    published=dict(train=9469, val=3925, classes=10),
    check=check,
    build=build_imagenette,
    archives='imagenette2*.tgz',
)
