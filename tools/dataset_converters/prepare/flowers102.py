"""Oxford 102 Flowers: jpg/, imagelabels.mat, setid.mat."""

from tools.dataset_converters.prepare.archives import check_room, unpack, write
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.mat_files import read_mat
from tools.dataset_converters.prepare.pictures import check_files, list_files

LABELS, SPLITS = 'imagelabels.mat', 'setid.mat'


def check(look, facts):
    """Images, a label for each, and the three splits."""
    files = list_files(look.root / 'jpg')
    look.count('images', len(files), facts['images'])
    if files:
        check_files(look, 'images', files, look.root / 'jpg')
    if look.there(LABELS, 'it lies beside 102flowers.tgz on the page'):
        labels = read_mat(look, LABELS, 'labels')
        if labels is not None:
            look.count('labels', len(labels), facts['images'])
            look.count('classes', len(set(labels)), facts['classes'])
            wrong = [v for v in set(labels) if not 1 <= v <= facts['classes']]
            look.faults('labels beyond the classes', wrong, len(labels))
    if look.there(SPLITS, 'it lies beside 102flowers.tgz on the page'):
        for key in ('trnid', 'valid', 'tstid'):
            ids = read_mat(look, SPLITS, key)
            if ids is not None:
                look.count(f'split {key}', len(ids), facts[key])
                lost = [f'image_{i:05d}.jpg' for i in ids]
                lost = [name for name in lost if name not in files]
                look.faults(f'split {key}: not there', lost, len(ids))


def build(part, archives, facts):
    """A tar of images and two files."""
    images, *tables = archives.find('102flowers.tgz', LABELS, SPLITS)
    check_room(part, 2 * images.stat().st_size)
    unpack(images, part, lambda name: f'jpg/{name.rsplit("/", 1)[-1]}')
    for path in tables:
        with path.open('rb') as stream:
            write(stream, part / path.name)


FLOWERS102 = DataSet(
    title='Oxford 102 Flowers',
    root='data/flowers102',
    source='https://www.robots.ox.ac.uk/~vgg/data/flowers/102/ (dataset images, image '
    'labels, data splits)',
    facts=dict(images=8189, classes=102, trnid=1020, valid=1020, tstid=6149),
    check=check,
    build=build,
    archives=f'102flowers.tgz, {LABELS}, {SPLITS}',
)
