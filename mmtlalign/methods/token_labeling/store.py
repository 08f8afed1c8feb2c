"""Label maps of a whole data set in a few large files, with random access.

A million small files are slow to list, to copy and to open. Here thousands of
maps share a file (shard) that is memory-mapped, so that all workers of a machine share
one copy. The folder contains ``store.json`` (the metadata), ``names.txt`` (relative
paths of the images, sorted), ``lookup.npy`` (the row of each name) and
``shard-*.npy``, arrays of records of equal size, one per image.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mmtlalign.compat.files import atomic_write
from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.geometry import LabelMap
from mmtlalign.methods.token_labeling.metadata import TOOL, StoreMetadata, fingerprint

METADATA, NAMES, LOOKUP = 'store.json', 'names.txt', 'lookup.npy'


class MissingMapError(InputError):
    """An image has no map; the message names it."""


class CorruptShardError(InputError):
    """A shard is damaged; the message names it, and it can be recreated by itself."""

    def __init__(self, file: Path, fault: str):
        super().__init__(
            f'{file} is corrupt: {fault}. Remove this one file and run {TOOL} as '
            'before: it makes only what is missing.'
        )


class LabelMapStore:
    """Maps by the relative path of their image, such as ``n01440764/a.JPEG``.

    Pickling stores only paths; each worker opens the files it needs.

    Args:
        root: Folder of the store.
        num_classes: Required number of classes of the maps. Defaults to None: any.
        class_names: Their names, which must be those of the store. Defaults to None:
            not compared.

    Attributes:
        metadata (StoreMetadata): Metadata of the store.

    Raises:
        InputError: The folder has no store, or the classes differ.
    """

    def __init__(
        self,
        root: str | Path,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
    ):
        self.root = Path(root).expanduser()
        self.metadata = StoreMetadata.load(self.root / METADATA)
        self._shards: dict[int, np.ndarray] = {}
        if class_names is not None and num_classes is None:
            num_classes = len(class_names)
        if num_classes not in (None, self.num_classes):
            raise InputError(
                f'{self.root} has label maps of {self.num_classes} classes, but '
                f'{num_classes} are needed: use the store of an annotator with these '
                'classes, or select them with class_ids.'
            )
        made_for = self.metadata.classes
        if class_names is not None and fingerprint(class_names) != made_for:
            raise InputError(
                f'{self.root} was made for other classes (fingerprint '
                f'{made_for or "none"}, not {fingerprint(class_names)}): '
                'same number, but other names or another order. Make maps with an '
                'annotator of these classes, or correct class_names.'
            )

    def __getstate__(self) -> dict:
        """Leave out mapped arrays, as NumPy would pickle the contents of the files."""
        state = {k: v for k, v in vars(self).items() if k not in ('names', 'lookup')}
        return state | dict(_shards={})

    @cached_property
    def names(self) -> list[str]:
        """Relative paths of the images, sorted."""
        return (self.root / NAMES).read_text(encoding='utf-8').splitlines()

    @cached_property
    def lookup(self) -> np.ndarray:
        """Sorted hashes of the names, with their rows in the list (n, 2), uint64."""
        try:
            return np.load(self.root / LOOKUP, mmap_mode='r', allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise InputError(
                f'{self.root / LOOKUP} is damaged ({error}): run {TOOL} as before, it '
                'writes it again.'
            ) from error

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (k, h, w) of a map."""
        return (self.metadata.topk, *self.metadata.grid)

    @property
    def num_classes(self) -> int:
        """Number of classes of the annotator."""
        return self.metadata.num_classes

    def __len__(self) -> int:
        """Return the number of images."""
        return self.metadata.images

    def __iter__(self) -> Iterator[str]:
        """Iterate over the relative paths, sorted."""
        return iter(self.names)

    def __contains__(self, name: str) -> bool:
        """Return whether an image has a map."""
        return self._row(name) is not None

    def __getitem__(self, name: str) -> LabelMap:
        """Return the map of an image.

        Raises:
            MissingMapError: It has none.
            CorruptShardError: Its file is damaged.
        """
        row = self._row(name)
        if row is None:
            raise MissingMapError(
                f'{self.root} has no label map of {name!r}: make maps for this image '
                "set, or choose missing='skip' or missing='hard label'."
            )
        shard, row_in_shard = divmod(row, self.metadata.shard_size)
        record = self.shard(shard)[row_in_shard]
        if self._checksum(name, record) != record['checksum']:
            fault = f'the checksum of {name} does not fit'
            raise CorruptShardError(self.shard_file(shard), fault)
        return LabelMap(np.array(record['values']), np.array(record['indices']))

    def shard_file(self, shard: int) -> Path:
        """Return the path of a shard."""
        return self.root / f'shard-{shard:05d}.npy'

    def shard(self, shard: int) -> np.ndarray:
        """Return the records of a shard, mapped into memory.

        Raises:
            CorruptShardError: It is truncated, or not a shard of this store.
            InputError: It is missing.
        """
        if shard not in self._shards:
            self._shards[shard] = self._open_shard(shard)
        return self._shards[shard]

    def _open_shard(self, shard: int) -> np.ndarray:
        file = self.shard_file(shard)
        try:
            records = np.load(file, mmap_mode='r', allow_pickle=False)
        except FileNotFoundError as error:
            raise InputError(
                f'{file} is missing: the store is not finished. Run {TOOL} as before: '
                'it makes only what is missing.'
            ) from error
        except (ValueError, EOFError, OSError) as error:
            raise CorruptShardError(file, str(error)) from error
        dtype, rows = self.metadata.record_dtype, len(self.metadata.rows(shard))
        if records.dtype != dtype or records.shape != (rows,):
            fault = f'it holds {records.shape} records of {records.dtype}'
            raise CorruptShardError(file, f'{fault}, not ({rows},) of {dtype}')
        return records

    def _checksum(self, name: str, record: np.void) -> int:
        """Return the CRC-32 of a map, its image's name and the store's metadata.

        It detects maps of another image or another annotator.
        """
        start = zlib.crc32(f'{self.metadata.digest} {name}'.encode())
        start = zlib.crc32(np.ascontiguousarray(record['values']), start)
        return zlib.crc32(np.ascontiguousarray(record['indices']), start)

    def _row(self, name: str) -> int | None:
        key = name_hash(name)
        at = int(np.searchsorted(self.lookup[:, 0], key))
        if at == len(self.lookup) or self.lookup[at, 0] != key:
            return None
        return int(self.lookup[at, 1])

    def check_images(self, names: Iterable[str]) -> None:
        """Check that the store was made for the images of a data set.

        Args:
            names: Relative paths, in any order.

        Raises:
            InputError: Images are missing or additional; the message names examples.
        """
        given = sorted(names)
        if fingerprint(given) == self.metadata.image_set:
            return
        missing = sorted(set(given) - set(self.names))
        extra = sorted(set(self.names) - set(given))
        raise InputError(
            f'{self.root} was made for another image set: {len(missing)} images have '
            f'no map{_such_as(missing)}, {len(extra)} maps have no '
            f'image{_such_as(extra)}. Make maps for this set, or correct the paths.'
        )

    def missing_maps(self, names: Sequence[str]) -> tuple[list[str], int]:
        """Return the sorted images without a map, and the number of images looked up.

        Args:
            names: Relative paths, in any order. Maps of other images are ignored.

        Raises:
            InputError: A file of the store is missing.
            CorruptShardError: One is truncated; checksums are checked on reading maps.
        """
        for shard in range(self.metadata.shards):
            self.shard(shard)
        given = set(names)
        if fingerprint(sorted(given)) == self.metadata.image_set:
            return [], len(names)
        # From another object, or workers would inherit a million names with this one.
        known = LabelMapStore(self.root).names
        return sorted(given.difference(known)), len(given)

    def missing_shards(self) -> list[int]:
        """List the shards that are not yet written."""
        shards = range(self.metadata.shards)
        return [s for s in shards if not self.shard_file(s).exists()]

    def write(self, shard: int, maps: Sequence[LabelMap]) -> None:
        """Write a shard atomically; only one process may write it at a time.

        Args:
            shard: Index of the shard.
            maps: Maps of its images, in order, that agree with the metadata.
        """
        names, file = self.shard_names(shard), self.shard_file(shard)
        records = np.zeros(len(names), self.metadata.record_dtype)
        for record, name, (values, indices) in zip(records, names, maps, strict=True):
            record['values'], record['indices'] = values, indices
            record['checksum'] = self._checksum(name, record)
        for left_behind in self.root.glob(f'.{file.name}.*.part'):
            left_behind.unlink()  # a temporary file of a killed process
        _save_array(file, records)
        self._shards.pop(shard, None)

    def shard_names(self, shard: int) -> list[str]:
        """List the images of a shard."""
        rows = self.metadata.rows(shard)
        return self.names[rows.start : rows.stop]

    def verify_shard(self, shard: int) -> None:
        """Read a shard from beginning to end.

        Raises:
            CorruptShardError: A checksum or a class is wrong; the message names images.
        """
        self._shards.pop(shard, None)
        names = self.shard_names(shard)
        broken = [
            name
            for record, name in zip(self.shard(shard), names, strict=True)
            if self._checksum(name, record) != record['checksum']
            or record['indices'].min() < 0
            or record['indices'].max() >= self.num_classes
        ]
        if broken:
            fault = f'{len(broken)} of {len(names)} maps do not fit their checksums'
            raise CorruptShardError(self.shard_file(shard), fault + _such_as(broken))


def create_store(
    root: str | Path, metadata: StoreMetadata, names: Sequence[str]
) -> LabelMapStore:
    """Create a store, or continue one that was created with the same metadata.

    Args:
        root: Its folder.
        metadata: Metadata of the store.
        names: Relative paths of the images, sorted.

    Returns:
        The store, with the shards that exist already.

    Raises:
        InputError: The folder has a store with other metadata, or names repeat.
    """
    root = Path(root).expanduser()
    if (root / METADATA).exists():
        present = StoreMetadata.load(root / METADATA)
        differences = '; '.join(
            f'{key}: {was}, now {getattr(metadata, key)}'
            for key, was in asdict(present).items()
            if was != getattr(metadata, key)
        )
        if differences:
            raise InputError(
                f'{root} holds label maps that were made with other settings '
                f'({differences}): name another folder, or remove this one.'
            )
    root.mkdir(parents=True, exist_ok=True)
    hashes = np.array([name_hash(name) for name in names], np.uint64)
    order = np.argsort(hashes)
    lookup = np.stack([hashes[order], order.astype(np.uint64)], axis=1)
    if (lookup[1:, 0] == lookup[:-1, 0]).any():
        raise InputError('an image is listed twice: give every relative path once')
    _replace_text(root / NAMES, '\n'.join(names) + '\n')
    _save_array(root / LOOKUP, lookup)
    # Written last, so that a folder with this file has the other two.
    _replace_text(root / METADATA, metadata.to_json())
    return LabelMapStore(root)


def name_hash(name: str) -> np.uint64:
    """Return a 64-bit hash of a name; Python's own differs between processes."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, 'little'))


def _replace_file(file: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically, so that even a power cut leaves no partial file."""
    with atomic_write(file, sync=True) as part, part.open('wb') as stream:
        write(stream)


def _replace_text(file: Path, text: str) -> None:
    _replace_file(file, lambda stream: stream.write(text.encode()))


def _save_array(file: Path, array: np.ndarray) -> None:
    _replace_file(file, lambda stream: np.save(stream, array, allow_pickle=False))


def _such_as(names: Sequence[str]) -> str:
    return f' (such as {", ".join(names[:3])})' if names else ''
