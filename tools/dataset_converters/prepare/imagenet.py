"""ImageNet-1k, and Imagenette, ten of its classes: train/<wnid>/, val/<wnid>/."""

import io
from pathlib import Path

from mmtlalign.errors import InputError
from tools.dataset_converters.prepare.archives import check_room, members, unpack
from tools.dataset_converters.prepare.class_folders import check_class_folders
from tools.dataset_converters.prepare.data_set import DataSet

TRAIN, VAL = 'ILSVRC2012_img_train.tar', 'ILSVRC2012_img_val.tar'
DEVKIT = 'ILSVRC2012_devkit_t12.tar.gz'


def check(look, facts):
    """Both splits, class by class."""
    classes = check_class_folders(look, 'train', facts['train'], facts['classes'])
    others = check_class_folders(look, 'val', facts['val'], facts['classes'])
    if classes and others:
        # Labels are the places in the sorted list of folders, of each split.
        differ = sorted(set(classes) ^ set(others))
        look.faults('classes in one split only', differ, len(classes | others))
    if (look.root / 'meta').is_dir():
        lists = [f'meta/{split}.txt' for split in ('train', 'val')]
        there = [name for name in lists if (look.root / name).exists()]
        for name in there:
            lines = (look.root / name).read_text().splitlines()
            look.count(f'{name} lines', len(lines), facts[Path(name).stem])


def build(part, archives, facts):
    """A tar of a thousand tars, a tar of flat images, and the devkit's labels."""
    train, val, devkit = archives.find(TRAIN, VAL, DEVKIT)
    check_room(part, train.stat().st_size + val.stat().st_size)
    wnids = validation_classes(devkit)

    def place_val(name):
        """ILSVRC2012_val_00000001.JPEG -> val/n01751748/…"""
        file = Path(name).name
        number = file.removesuffix('.JPEG').rpartition('_')[2]
        if not number.isdigit() or not 1 <= int(number) <= len(wnids):
            raise InputError(
                f"{val}: '{name}' is none of the {len(wnids)} validation images of "
                f'{devkit.name}; take both from the same page'
            )
        return f'val/{wnids[int(number) - 1]}/{file}'

    unpack(val, part, place_val)
    unpack(
        train,
        part,
        lambda name: f'train/{name.split("/")[-2]}/{Path(name).name}',
        nested=True,
    )


def validation_classes(devkit: Path) -> list[str]:
    """The WordNet id of each validation image, in order, from the devkit."""
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
    facts=dict(train=1281167, val=50000, classes=1000),
    check=check,
    build=build,
    archives=f'{TRAIN}, {VAL}, {DEVKIT}',
)


def build_imagenette(part, archives, facts):
    """One tar with the folders as they are."""
    (archive,) = archives.find('imagenette*.t*')
    check_room(part, 2 * archive.stat().st_size)
    unpack(archive, part, place_imagenette)


def place_imagenette(name):
    """imagenette2-160/train/<wnid>/<file> without what is above."""
    parts = name.split('/')
    if len(parts) < 3 or parts[-3] not in ('train', 'val') or parts[-1].startswith('.'):
        return None
    return '/'.join(parts[-3:])


IMAGENETTE = DataSet(
    title='Imagenette (version 2)',
    root='data/imagenette224',
    source='https://github.com/fastai/imagenette (any size of version 2)',
    facts=dict(train=9469, val=3925, classes=10),
    check=check,
    build=build_imagenette,
    archives='imagenette2*.tgz',
)
