"""One file of a store: records of equal size that NumPy maps into memory."""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.label_map import LabelMap, index_dtype
from mmtlalign.methods.token_labeling.metadata import StoreFacts


class CorruptShardError(InputError):
    """A shard is damaged; the message names it, and it can be made again alone."""

    def __init__(self, file: Path, fault: str):
        super().__init__(
            f'{file} is corrupt: {fault}. Remove this one file and run '
            'tools/dataset_converters/make_label_maps.py as before: it makes only what is missing.'
        )


def shard_file(root: Path, shard: int) -> Path:
    """Where a shard lies."""
    return Path(root) / f'shard-{shard:05d}.npy'


def record_dtype(facts: StoreFacts) -> np.dtype:
    """One image: values, indices and their checksum, side by side.

    Side by side, so that reading a map touches one or two pages of the file.
    """
    shape = (facts.topk, *facts.grid)
    return np.dtype(
        [
            ('values', '<f2', shape),
            ('indices', index_dtype(facts.num_classes), shape),
            ('checksum', '<u4'),
        ]
    )


def checksum(facts: StoreFacts, name: str, record: np.void) -> int:
    """CRC-32 of a map, of whose it is and of what made it.

    A map of another image or of another annotator does not pass for this one.
    """
    start = zlib.crc32(f'{facts.seal} {name}'.encode())
    start = zlib.crc32(np.ascontiguousarray(record['values']), start)
    return zlib.crc32(np.ascontiguousarray(record['indices']), start)


def write_shard(
    file: Path, facts: StoreFacts, names: Sequence[str], maps: Sequence[LabelMap]
) -> None:
    """Write a shard, whole or not at all. Only one process writes it at a time.

    Args:
        file: Where.
        facts: Of the store.
        names: Relative paths of the images.
        maps: Their maps, as the facts say.
    """
    records = np.zeros(len(names), record_dtype(facts))
    for record, name, (values, indices) in zip(records, names, maps, strict=True):
        record['values'], record['indices'] = values, indices
        record['checksum'] = checksum(facts, name, record)
    part = file.with_name(f'.{file.name}.{os.getpid()}.part')
    for left_behind in file.parent.glob(f'.{file.name}.*.part'):
        left_behind.unlink()  # of a process that was killed
    try:
        with open(part, 'wb') as stream:
            np.save(stream, records, allow_pickle=False)
            stream.flush()
            # What has its name must have its bytes, also after a power cut.
            os.fsync(stream.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def open_shard(file: Path, facts: StoreFacts, rows: int) -> np.memmap:
    """Map a shard into memory.

    Args:
        file: Where it lies.
        facts: Of the store.
        rows: How many images it should hold.

    Raises:
        CorruptShardError: It is cut off, or no shard of this store.
        InputError: It is not there.
    """
    try:
        records = np.load(file, mmap_mode='r', allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(
            f'{file} is missing: the store is not finished. Run '
            'tools/dataset_converters/make_label_maps.py as before: it makes only what is missing.'
        ) from error
    except (ValueError, EOFError, OSError) as error:
        raise CorruptShardError(file, str(error)) from error
    if records.dtype != record_dtype(facts) or records.shape != (rows,):
        raise CorruptShardError(
            file,
            f'it holds {records.shape} records of {records.dtype}, not ({rows},) of '
            f'{record_dtype(facts)}',
        )
    return records


def read_row(records: np.memmap, row: int, facts: StoreFacts, name: str) -> LabelMap:
    """One map, copied out of the file and checked.

    Raises:
        CorruptShardError: Its checksum is wrong.
    """
    record = records[row]
    if checksum(facts, name, record) != record['checksum']:
        raise CorruptShardError(
            Path(records.filename), f'the checksum of {name} does not fit'
        )
    return LabelMap(np.array(record['values']), np.array(record['indices']))


def broken_rows(
    records: np.ndarray, facts: StoreFacts, names: Sequence[str]
) -> list[str]:
    """The images of a shard whose checksums are wrong, or whose classes are none."""
    return [
        name
        for record, name in zip(records, names, strict=True)
        if checksum(facts, name, record) != record['checksum']
        or record['indices'].min() < 0
        or record['indices'].max() >= facts.num_classes
    ]
