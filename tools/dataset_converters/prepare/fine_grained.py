"""Fine-grained classification: Oxford 102 Flowers and Stanford Cars."""

from collections.abc import Container, Sequence
from pathlib import Path

from tools.dataset_converters.prepare.archives import (
    Archives,
    check_free_space,
    unpack,
    write_stream,
)
from tools.dataset_converters.prepare.check_report import CheckReport
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.images import check_files, list_files

FLOWER_LABELS, FLOWER_SPLITS = 'imagelabels.mat', 'setid.mat'
CAR_TEST_LABELS = 'cars_test_annos_withlabels.mat'
CAR_TABLES = dict(train='devkit/cars_train_annos.mat', test=f'devkit/{CAR_TEST_LABELS}')


def read_mat(report: CheckReport, name: str, *keys: str) -> list | None:
    """Return the value under nested keys of a ``.mat`` file, read as mmpretrain does.

    Args:
        report: Gets a row if the file is wrong.
        name: File below the data folder.
        *keys: One key inside the other.

    Returns:
        The value, in a list if it is a single one; None if it cannot be read.
    """
    from mat4py import loadmat

    try:
        value = loadmat(str(report.root / name))
        for key in keys:
            value = value[key]
    except Exception as error:
        fault = f'{"/".join(keys)} cannot be read ({type(error).__name__}: {error})'
        report.faults(name, [fault], 1, 'download it again')
        return None
    return value if isinstance(value, list) else [value]


def check_flowers(report: CheckReport, published: dict) -> None:
    """Check the images, a label for each, and the three splits."""
    files = list_files(report.root / 'jpg')
    report.count('images', len(files), published['images'])
    if files:
        check_files(report, 'images', files, report.root / 'jpg')
    if report.exists(FLOWER_LABELS, 'it is next to 102flowers.tgz on the page'):
        labels = read_mat(report, FLOWER_LABELS, 'labels')
        if labels is not None:
            report.count('labels', len(labels), published['images'])
            report.count('classes', len(set(labels)), published['classes'])
            wrong = [v for v in set(labels) if not 1 <= v <= published['classes']]
            report.faults('labels beyond the classes', wrong, len(labels))
    if report.exists(FLOWER_SPLITS, 'it is next to 102flowers.tgz on the page'):
        for key in ('trnid', 'valid', 'tstid'):
            ids = read_mat(report, FLOWER_SPLITS, key)
            if ids is not None:
                report.count(f'split {key}', len(ids), published[key])
                missing = [f'image_{i:05d}.jpg' for i in ids]
                missing = [name for name in missing if name not in files]
                report.faults(f'split {key}: not there', missing, len(ids))


def build_flowers(folder: Path, archives: Archives, published: dict) -> None:
    """Unpack a tar of images, and copy two files."""
    images, *tables = archives.find('102flowers.tgz', FLOWER_LABELS, FLOWER_SPLITS)
    check_free_space(folder, 2 * images.stat().st_size)
    unpack(images, folder, lambda name: f'jpg/{name.rsplit("/", 1)[-1]}')
    for path in tables:
        with path.open('rb') as stream:
            write_stream(stream, folder / path.name)


FLOWERS102 = DataSet(
    title='Oxford 102 Flowers',
    root='data/flowers102',
    source='https://www.robots.ox.ac.uk/~vgg/data/flowers/102/ (dataset images, image '
    'labels, data splits)',
    published=dict(images=8189, classes=102, trnid=1020, valid=1020, tstid=6149),
    check=check_flowers,
    build=build_flowers,
    archives=f'102flowers.tgz, {FLOWER_LABELS}, {FLOWER_SPLITS}',
)


def check_cars(report: CheckReport, published: dict) -> None:
    """Check images and annotations of both splits, in either published layout."""
    if (report.root / 'cars_annos.mat').exists():
        files = list_files(report.root / 'car_ims')
        report.count('images', len(files), published['train'] + published['test'])
        check_files(report, 'images', files, report.root / 'car_ims')
        test, names, labels = (
            read_mat(report, 'cars_annos.mat', 'annotations', key)
            for key in ('test', 'relative_im_path', 'class')
        )
        if None not in (test, names, labels):
            report.count('test: annotations', sum(test), published['test'])
            names = [name.split('/')[-1] for name in names]
            check_car_table(report, 'both', names, labels, files, published['classes'])
        return
    for split, table in CAR_TABLES.items():
        folder = report.root / f'cars_{split}'
        files = list_files(folder)
        report.count(f'{split}: images', len(files), published[split])
        if files:
            check_files(report, split, files, folder)
        if report.exists(table, f'{CAR_TEST_LABELS} is next to car_devkit.tgz'):
            names = read_mat(report, table, 'annotations', 'fname')
            labels = read_mat(report, table, 'annotations', 'class')
            if None not in (names, labels):
                report.count(f'{split}: annotations', len(names), published[split])
                classes = published['classes']
                check_car_table(report, split, names, labels, files, classes)


def check_car_table(
    report: CheckReport,
    split: str,
    names: Sequence[str],
    labels: Sequence[int],
    files: Container[str],
    classes: int,
) -> None:
    """Check the annotations of one split, and report."""
    report.count(f'{split}: classes', len(set(labels)), classes)
    wrong = sorted({label for label in labels if not 1 <= label <= classes})
    report.faults(f'{split}: labels beyond the classes', wrong, len(labels))
    missing = [name for name in names if name not in files]
    report.faults(f'{split}: not there', missing, len(names), 'unpack the images again')


def build_cars(folder: Path, archives: Archives, published: dict) -> None:
    """Unpack two tars of images and the devkit, and copy the labels of the test."""
    *tars, table = archives.find(
        'cars_train.tgz', 'cars_test.tgz', 'car_devkit.tgz', CAR_TEST_LABELS
    )
    check_free_space(folder, 2 * sum(path.stat().st_size for path in tars))
    for archive in tars:
        unpack(archive, folder, str)
    with table.open('rb') as stream:
        write_stream(stream, folder / 'devkit' / CAR_TEST_LABELS)


STANFORD_CARS = DataSet(
    title='Stanford Cars',
    root='data/stanford_cars',
    source='https://ai.stanford.edu/~jkrause/cars/car_dataset.html (the official '
    'page, whose links have been dead since 2023; ask its authors)',
    published=dict(train=8144, test=8041, classes=196),
    check=check_cars,
    build=build_cars,
    archives=f'cars_train.tgz, cars_test.tgz, car_devkit.tgz, {CAR_TEST_LABELS}',
)
