"""Files of a store: what it was made for (``store.json``) and the maps themselves.

A shard (``shard-*.npy``) is an array of records of equal size, one an image, that NumPy
maps into memory.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.geometry import LabelMap, index_dtype

LAYOUT = 1
TOOL = 'tools/dataset_converters/make_label_maps.py'


class CorruptShardError(InputError):
    """A shard is damaged; the message names it, and it can be made again alone."""

    def __init__(self, file: Path, fault: str):
        super().__init__(
            f'{file} is corrupt: {fault}. Remove this one file and run {TOOL} as '
            'before: it makes only what is missing.'
        )


def fingerprint(words: Iterable[str]) -> str:
    """Return 16 hexadecimal digits that change with any word or with their order."""
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b'\0')
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class StoreMetadata:
    """The contents of ``store.json``.

    Attributes:
        num_classes: Classes of the annotator.
        classes: Fingerprint of their names, in order; '' where they have none.
        grid: Rows and columns of a map.
        topk: Classes kept in each cell.
        images: How many there are.
        image_set: Fingerprint of their sorted relative paths.
        annotator: What made the maps: model, weights, input size, geometry.
        shard_size: Images a file.
        layout: Version of this layout.

    Raises:
        InputError: For a number below 1, or a ``topk`` above ``num_classes``.
    """

    num_classes: int
    classes: str
    grid: tuple[int, int]
    topk: int
    images: int
    image_set: str
    annotator: dict = field(default_factory=dict)
    shard_size: int = 4096
    layout: int = LAYOUT

    def __post_init__(self):
        object.__setattr__(self, 'grid', tuple(self.grid))
        for name in ('num_classes', 'topk', 'images', 'shard_size'):
            if getattr(self, name) < 1:
                raise InputError(f'{name}={getattr(self, name)}: give at least 1')
        if self.topk > self.num_classes:
            raise InputError(
                f'topk={self.topk} of {self.num_classes} classes: keep at most all'
            )

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.images // self.shard_size)

    @property
    def record_dtype(self) -> np.dtype:
        """Type of the record of an image: values, indices and their checksum.

        Side by side, so that reading a map touches one or two pages of the file.
        """
        shape = (self.topk, *self.grid)
        return np.dtype(
            [
                ('values', '<f2', shape),
                ('indices', index_dtype(self.num_classes), shape),
                ('checksum', '<u4'),
            ]
        )

    # Every read of a map asks for it.
    @cached_property
    def digest(self) -> str:
        """Fingerprint of all metadata, a part of every map's checksum."""
        return fingerprint([json.dumps(asdict(self), sort_keys=True)])

    def rows(self, shard: int) -> range:
        """Return the rows of the list of images that lie in a shard."""
        begin = shard * self.shard_size
        return range(begin, min(begin + self.shard_size, self.images))

    def to_json(self) -> str:
        """Return the text of ``store.json``."""
        return json.dumps(asdict(self), indent=2) + '\n'

    @classmethod
    def load(cls, file: Path) -> 'StoreMetadata':
        """Read ``store.json``.

        Raises:
            InputError: There is none, or it is damaged or of another layout.
        """
        try:
            given = json.loads(file.read_text())
        except FileNotFoundError as error:
            raise InputError(
                f'{file.parent} holds no label maps: there is no {file.name}. Make '
                f'them with {TOOL}, or correct the path.'
            ) from error
        except ValueError as error:
            raise InputError(
                f'{file} is damaged ({error}): make the store again'
            ) from error
        if given.get('layout') != LAYOUT or set(given) != {f.name for f in fields(cls)}:
            raise InputError(
                f'{file} is of layout {given.get("layout")!r}, this version reads '
                f'{LAYOUT}: make the store again'
            )
        return cls(**given)


def replace_file(file: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file, whole or not at all.

    Args:
        file: Where.
        write: Called with a stream to write to.
    """
    part = file.with_name(f'.{file.name}.{os.getpid()}.part')
    try:
        with part.open('wb') as stream:
            write(stream)
            stream.flush()
            # What has its name must have its bytes, also after a power cut.
            os.fsync(stream.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def save_array(file: Path, array: np.ndarray) -> None:
    """Write an array as ``.npy``, whole or not at all."""
    replace_file(file, lambda stream: np.save(stream, array, allow_pickle=False))


def shard_file(root: Path, shard: int) -> Path:
    """Return the path of a shard."""
    return Path(root) / f'shard-{shard:05d}.npy'


def checksum(metadata: StoreMetadata, name: str, record: np.void) -> int:
    """Return the CRC-32 of a map, of its image's name and of what made it.

    A map of another image or of another annotator does not pass for this one.
    """
    start = zlib.crc32(f'{metadata.digest} {name}'.encode())
    start = zlib.crc32(np.ascontiguousarray(record['values']), start)
    return zlib.crc32(np.ascontiguousarray(record['indices']), start)


def write_shard(
    file: Path, metadata: StoreMetadata, names: Sequence[str], maps: Sequence[LabelMap]
) -> None:
    """Write a shard, whole or not at all. Only one process writes it at a time.

    Args:
        file: Where.
        metadata: Of the store.
        names: Relative paths of the images.
        maps: Their maps, as the metadata say.
    """
    records = np.zeros(len(names), metadata.record_dtype)
    for record, name, (values, indices) in zip(records, names, maps, strict=True):
        record['values'], record['indices'] = values, indices
        record['checksum'] = checksum(metadata, name, record)
    for left_behind in file.parent.glob(f'.{file.name}.*.part'):
        left_behind.unlink()  # of a process that was killed
    save_array(file, records)


def open_shard(file: Path, metadata: StoreMetadata, rows: int) -> np.memmap:
    """Map a shard into memory.

    Args:
        file: Where it lies.
        metadata: Of the store.
        rows: How many images it should hold.

    Raises:
        CorruptShardError: It is cut off, or no shard of this store.
        InputError: It is not there.
    """
    try:
        records = np.load(file, mmap_mode='r', allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(
            f'{file} is missing: the store is not finished. Run {TOOL} as before: it '
            'makes only what is missing.'
        ) from error
    except (ValueError, EOFError, OSError) as error:
        raise CorruptShardError(file, str(error)) from error
    if records.dtype != metadata.record_dtype or records.shape != (rows,):
        raise CorruptShardError(
            file,
            f'it holds {records.shape} records of {records.dtype}, not ({rows},) of '
            f'{metadata.record_dtype}',
        )
    return records


def read_row(
    records: np.memmap, row: int, metadata: StoreMetadata, name: str
) -> LabelMap:
    """Return one map, copied out of the file and checked.

    Raises:
        CorruptShardError: Its checksum is wrong.
    """
    record = records[row]
    if checksum(metadata, name, record) != record['checksum']:
        raise CorruptShardError(
            Path(records.filename), f'the checksum of {name} does not fit'
        )
    return LabelMap(np.array(record['values']), np.array(record['indices']))


def broken_rows(
    records: np.ndarray, metadata: StoreMetadata, names: Sequence[str]
) -> list[str]:
    """List the images of a shard whose checksum or whose classes are wrong."""
    return [
        name
        for record, name in zip(records, names, strict=True)
        if checksum(metadata, name, record) != record['checksum']
        or record['indices'].min() < 0
        or record['indices'].max() >= metadata.num_classes
    ]
