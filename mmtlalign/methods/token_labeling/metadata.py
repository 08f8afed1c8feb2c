"""Metadata of a store of label maps: classes, images, annotator."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.geometry import index_dtype

LAYOUT = 1
# The tool that creates stores, for messages.
TOOL = 'tools/dataset_converters/make_label_maps.py'


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
        classes: Fingerprint of their names, in order; '' without names.
        grid: Rows and columns of a map.
        topk: Classes stored in each cell.
        images: Number of images.
        image_set: Fingerprint of their sorted relative paths.
        annotator: Description of the annotator: model, weights, input size, geometry.
        shard_size: Images per file.
        layout: Version of the layout.

    Raises:
        InputError: A number is below 1, or ``topk`` is above ``num_classes``.
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

    def __post_init__(self) -> None:
        object.__setattr__(self, 'grid', tuple(self.grid))
        for name in ('num_classes', 'topk', 'images', 'shard_size'):
            if getattr(self, name) < 1:
                raise InputError(f'{name}={getattr(self, name)}: give at least 1')
        if self.topk > self.num_classes:
            raise InputError(
                f'topk={self.topk} of {self.num_classes} classes: give at most the '
                'number of classes'
            )

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.images // self.shard_size)

    @property
    def record_dtype(self) -> np.dtype:
        """Type of the record of an image: values, indices and their checksum.

        They are stored together, so that reading a map needs one or two memory pages.
        """
        shape = (self.topk, *self.grid)
        return np.dtype(
            [
                ('values', '<f2', shape),
                ('indices', index_dtype(self.num_classes), shape),
                ('checksum', '<u4'),
            ]
        )

    # Cached, as every read of a map uses it.
    @cached_property
    def digest(self) -> str:
        """Fingerprint of all metadata, which is part of every map's checksum."""
        return fingerprint([json.dumps(asdict(self), sort_keys=True)])

    def rows(self, shard: int) -> range:
        """Return the rows in the list of images that a shard contains."""
        begin = shard * self.shard_size
        return range(begin, min(begin + self.shard_size, self.images))

    def to_json(self) -> str:
        """Return the text of ``store.json``."""
        return json.dumps(asdict(self), indent=2) + '\n'

    @classmethod
    def load(cls, file: Path) -> 'StoreMetadata':
        """Read ``store.json``.

        Raises:
            InputError: The file is missing, damaged, or of another layout.
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
                f'{file} has layout {given.get("layout")!r}, but this version reads '
                f'{LAYOUT}: make the store again'
            )
        return cls(**given)
