"""Fashion-MNIST: four unpacked IDX files, as mmpretrain reads them."""

import gzip
import struct
import zlib

import numpy as np

from mmtlalign.errors import InputError
from tools.dataset_converters.prepare.archives import check_room, write
from tools.dataset_converters.prepare.data_set import DataSet

ADDRESS = 'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/'
MD5 = {
    'train-images-idx3-ubyte.gz': '8d4fb7e6c68d591d4c3dfef9ec88bf0d',
    'train-labels-idx1-ubyte.gz': '25c81989df183df01b3e8a0aad5dffbe',
    't10k-images-idx3-ubyte.gz': 'bef4ecab320f06d8554ea6380940ec79',
    't10k-labels-idx1-ubyte.gz': 'bb300cfdad3c16e7a12a480ee83cd310',
}


def check(look, facts):
    """The header of each file against its length, and the labels."""
    for split in ('train', 't10k'):
        for kind, axes in (('images', 3), ('labels', 1)):
            name = f'{split}-{kind}-idx{axes}-ubyte'
            if not look.there(name):
                continue
            content = (look.root / name).read_bytes()
            shape = read_shape(content, axes)
            length = 4 + 4 * axes + int(np.prod(shape)) if shape else -1
            if len(content) != length:
                fault = f'{len(content)} bytes are no whole IDX file'
                look.faults(name, [fault], 1, 'unpack it again')
                continue
            look.count(f'{split}: {kind}', shape[0], facts[split])
            if kind == 'labels':
                labels = np.unique(np.frombuffer(content, np.uint8, offset=8))
                wrong = labels[labels >= facts['classes']].tolist()
                look.faults(f'{split}: labels beyond the classes', wrong, shape[0])


def read_shape(content: bytes, axes: int) -> tuple:
    """The shape in an IDX header of bytes; empty if it is none."""
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) < 4 + 4 * axes:
        return ()
    return struct.unpack(f'>{axes}I', content[4 : 4 + 4 * axes])


def build(part, archives, facts):
    """Four gzip files."""
    found = archives.find(*MD5)
    check_room(part, 2 * sum(path.stat().st_size for path in found))
    for path in found:
        try:
            with gzip.open(path) as stream:
                write(stream, part / path.stem)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f'{path} is damaged ({error}); download it again'
            ) from error


FASHION_MNIST = DataSet(
    title='Fashion-MNIST',
    root='data/fashion_mnist',
    source='https://github.com/zalandoresearch/fashion-mnist',
    facts=dict(train=60000, t10k=10000, classes=10),
    check=check,
    build=build,
    downloads={name: (ADDRESS + name, md5) for name, md5 in MD5.items()},
    archives=', '.join(MD5),
)
