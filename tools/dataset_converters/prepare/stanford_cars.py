"""Stanford Cars: cars_train/, cars_test/, devkit/; or car_ims/ and cars_annos.mat."""

from tools.dataset_converters.prepare.archives import check_room, unpack, write
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.mat_files import read_mat
from tools.dataset_converters.prepare.pictures import check_files, list_files

WITH_LABELS = 'cars_test_annos_withlabels.mat'
TABLES = dict(train='devkit/cars_train_annos.mat', test=f'devkit/{WITH_LABELS}')


def check(look, facts):
    """Images of both splits and their annotations."""
    if (look.root / 'cars_annos.mat').exists():
        files = list_files(look.root / 'car_ims')
        look.count('images', len(files), facts['train'] + facts['test'])
        check_files(look, 'images', files, look.root / 'car_ims')
        test = read_mat(look, 'cars_annos.mat', 'annotations', 'test')
        names = read_mat(look, 'cars_annos.mat', 'annotations', 'relative_im_path')
        labels = read_mat(look, 'cars_annos.mat', 'annotations', 'class')
        if None not in (test, names, labels):
            look.count('test: annotations', sum(test), facts['test'])
            names = [name.split('/')[-1] for name in names]
            check_table(look, 'both', names, labels, files, facts)
        return
    for split, table in TABLES.items():
        folder = look.root / f'cars_{split}'
        files = list_files(folder)
        look.count(f'{split}: images', len(files), facts[split])
        if files:
            check_files(look, split, files, folder)
        if look.there(table, f'{WITH_LABELS} comes beside car_devkit.tgz'):
            names = read_mat(look, table, 'annotations', 'fname')
            labels = read_mat(look, table, 'annotations', 'class')
            if None not in (names, labels):
                look.count(f'{split}: annotations', len(names), facts[split])
                check_table(look, split, names, labels, files, facts)


def check_table(look, split, names, labels, files, facts):
    """Rows for the annotations of some images."""
    look.count(f'{split}: classes', len(set(labels)), facts['classes'])
    wrong = sorted({v for v in labels if not 1 <= v <= facts['classes']})
    look.faults(f'{split}: labels beyond the classes', wrong, len(labels))
    lost = [name for name in names if name not in files]
    look.faults(f'{split}: not there', lost, len(names), 'unpack the images again')


def build(part, archives, facts):
    """Two tars of images, the devkit, and the labels of the test images."""
    *tars, table = archives.find(
        'cars_train.tgz', 'cars_test.tgz', 'car_devkit.tgz', WITH_LABELS
    )
    check_room(part, 2 * sum(path.stat().st_size for path in tars))
    for archive in tars:
        unpack(archive, part, str)
    with table.open('rb') as stream:
        write(stream, part / 'devkit' / WITH_LABELS)


STANFORD_CARS = DataSet(
    title='Stanford Cars',
    root='data/stanford_cars',
    source='https://ai.stanford.edu/~jkrause/cars/car_dataset.html (the official '
    'page, whose links have been dead since 2023; ask its authors)',
    facts=dict(train=8144, test=8041, classes=196),
    check=check,
    build=build,
    archives=f'cars_train.tgz, cars_test.tgz, car_devkit.tgz, {WITH_LABELS}',
)
