"""CIFAR-10 and CIFAR-100 as Python batches, which the hosts check by md5."""

from functools import partial

from tools.dataset_converters.prepare.archives import check_md5, check_room, unpack
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.pictures import list_files


def check(look, facts):
    """The md5 of every batch."""
    folder = facts['folder']
    pictures = list_files(look.root / 'train')
    hint = 'see below where to get it'
    if pictures and not (look.root / folder).is_dir():
        hint = (
            f'{look.root}/train holds {len(pictures):,} pictures, another form of this '
            "data (often lossy): for configs with type='CustomDataset'; those with "
            f"type='{facts['type']}' read {folder}/"
        )
    if not look.there(folder, hint):
        return
    for name, md5 in facts['files'].items():
        path = look.root / folder / name
        if look.there(f'{folder}/{name}', 'unpack the archive again'):
            fault = check_md5(path, md5)
            look.faults(name, [fault] if fault else [], 1, 'unpack the archive again')


def build(part, archives, facts, archive):
    """One tar with one folder."""
    (path,) = archives.find(archive)
    check_room(part, 2 * path.stat().st_size)
    unpack(path, part, str)


PAGE = 'https://www.cs.toronto.edu/~kriz/'
FILES_10 = {
    'data_batch_1': 'c99cafc152244af753f735de768cd75f',
    'data_batch_2': 'd4bba439e000b95fd0a9bffe97cbabec',
    'data_batch_3': '54ebc095f3ab1f0389bbae665268c751',
    'data_batch_4': '634d18415352ddfa80567beed471001a',
    'data_batch_5': '482c414d41f54cd18b22e5b47cb7c3cb',
    'test_batch': '40351d587109b95175f43aff81a1287e',
    'batches.meta': '5ff9c542aee3614f3951f8cda6e48888',
}
FILES_100 = {
    'train': '16019d7e3df5f24257cddd939b257f8d',
    'test': 'f0ef6b0ae62326f3e7ffdfab6717acfc',
    'meta': '7973b15100ade9c7d40fb424638fde48',
}


def cifar(title, root, archive, md5, **facts):
    """One of the two."""
    return DataSet(
        title=title,
        root=root,
        source=f'{PAGE}cifar.html ("python version")',
        facts=facts,
        check=check,
        build=partial(build, archive=archive),
        downloads={archive: (PAGE + archive, md5)},
        archives=archive,
    )


CIFAR10 = cifar(
    'CIFAR-10',
    'data/cifar10',
    'cifar-10-python.tar.gz',
    'c58f30108f718f92721af3b95e74349a',
    folder='cifar-10-batches-py',
    files=FILES_10,
    type='CIFAR10',
)
CIFAR100 = cifar(
    'CIFAR-100',
    'data/cifar100',
    'cifar-100-python.tar.gz',
    'eb9058c3a382ffc7106e4002c42a8d85',
    folder='cifar-100-python',
    files=FILES_100,
    type='CIFAR100',
)
