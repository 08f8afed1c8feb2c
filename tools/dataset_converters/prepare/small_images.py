"""CIFAR-10, CIFAR-100 and Fashion-MNIST: whole data sets in a few files.

Addresses and checksums are torchvision's.
"""

import gzip
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torchvision

from mmtlalign.errors import InputError
from tools.dataset_converters.prepare.archives import (
    Archives,
    check_free_space,
    md5_fault,
    unpack,
    write_stream,
)
from tools.dataset_converters.prepare.check_report import CheckReport
from tools.dataset_converters.prepare.data_set import DataSet
from tools.dataset_converters.prepare.images import list_files


def check_cifar(report: CheckReport, published: dict) -> None:
    """Check the md5 of every batch, as the hosts do."""
    folder = published['folder']
    images = list_files(report.root / 'train')
    remedy = 'see below where to get it'
    if images and not (report.root / folder).is_dir():
        remedy = (
            f'{report.root}/train holds {len(images):,} images, another form of this '
            "data (often lossy): for configs with type='CustomDataset'; those with "
            f"type='{published['type']}' read {folder}/"
        )
    if not report.exists(folder, remedy):
        return
    for name, md5 in published['files'].items():
        if report.exists(f'{folder}/{name}', 'unpack the archive again'):
            fault = md5_fault(report.root / folder / name, md5)
            report.faults(name, [fault] if fault else [], 1, 'unpack the archive again')


def build_cifar(folder: Path, archives: Archives, published: dict, name: str) -> None:
    """Unpack one tar with one folder."""
    (archive,) = archives.find(name)
    check_free_space(folder, 2 * archive.stat().st_size)
    unpack(archive, folder, str)


def _cifar(title: str, root: str, host: type) -> DataSet:
    """Return the data set that torchvision has as a class."""
    meta = [(host.meta['filename'], host.meta['md5'])]
    return DataSet(
        title=title,
        root=root,
        source='https://www.cs.toronto.edu/~kriz/cifar.html ("python version")',
        published=dict(
            folder=host.base_folder,
            files=dict([*host.train_list, *host.test_list, *meta]),
            type=host.__name__,
        ),
        check=check_cifar,
        build=partial(build_cifar, name=host.filename),
        downloads={host.filename: (host.url, host.tgz_md5)},
        archives=host.filename,
    )


CIFAR10 = _cifar('CIFAR-10', 'data/cifar10', torchvision.datasets.CIFAR10)
CIFAR100 = _cifar('CIFAR-100', 'data/cifar100', torchvision.datasets.CIFAR100)


def check_fashion_mnist(report: CheckReport, published: dict) -> None:
    """Check the header of each IDX file against its length, and the labels."""
    for split in ('train', 't10k'):
        for kind, axes in (('images', 3), ('labels', 1)):
            name = f'{split}-{kind}-idx{axes}-ubyte'
            if not report.exists(name):
                continue
            content = (report.root / name).read_bytes()
            shape = idx_shape(content, axes)
            length = 4 + 4 * axes + int(np.prod(shape)) if shape else -1
            if len(content) != length:
                fault = f'{len(content)} bytes are not a complete IDX file'
                report.faults(name, [fault], 1, 'unpack it again')
                continue
            report.count(f'{split}: {kind}', shape[0], published[split])
            if kind == 'labels':
                labels = np.unique(np.frombuffer(content, np.uint8, offset=8))
                wrong = labels[labels >= published['classes']].tolist()
                report.faults(f'{split}: labels beyond the classes', wrong, shape[0])


def idx_shape(content: bytes, axes: int) -> tuple[int, ...]:
    """Return the shape in the IDX header of some bytes; () if there is no header."""
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) < 4 + 4 * axes:
        return ()
    return struct.unpack(f'>{axes}I', content[4 : 4 + 4 * axes])


def build_fashion_mnist(folder: Path, archives: Archives, published: dict) -> None:
    """Unpack four gzip files, as mmpretrain reads them."""
    found = archives.find(*FASHION_MNIST_MD5)
    check_free_space(folder, 2 * sum(path.stat().st_size for path in found))
    for path in found:
        try:
            with gzip.open(path) as stream:
                write_stream(stream, folder / path.stem)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f'{path} is damaged ({error}); download it again'
            ) from error


FASHION_MNIST_MD5 = dict(torchvision.datasets.FashionMNIST.resources)
FASHION_MNIST = DataSet(
    title='Fashion-MNIST',
    root='data/fashion_mnist',
    source='https://github.com/zalandoresearch/fashion-mnist',
    published=dict(train=60000, t10k=10000, classes=10),
    check=check_fashion_mnist,
    build=build_fashion_mnist,
    downloads={
        name: (torchvision.datasets.FashionMNIST.mirrors[0] + name, md5)
        for name, md5 in FASHION_MNIST_MD5.items()
    },
    archives=', '.join(FASHION_MNIST_MD5),
)
