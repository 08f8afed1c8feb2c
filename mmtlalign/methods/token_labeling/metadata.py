"""What a store of label maps was made for: classes, images, annotator."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path

from mmtlalign.errors import InputError

LAYOUT = 1


def fingerprint(words: Iterable[str]) -> str:
    """16 hexadecimal digits that change with any word or with their order."""
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b'\0')
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class StoreFacts:
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
        """How many files there are."""
        return -(-self.images // self.shard_size)

    # Every read of a map asks for it.
    @cached_property
    def seal(self) -> str:
        """Fingerprint of everything; the checksum of each map rests on it."""
        return fingerprint([json.dumps(asdict(self), sort_keys=True)])

    def rows(self, shard: int) -> range:
        """Rows of the list of images that lie in a shard."""
        begin = shard * self.shard_size
        return range(begin, min(begin + self.shard_size, self.images))

    def save(self, file: Path) -> None:
        """Write the facts as JSON."""
        file.write_text(json.dumps(asdict(self), indent=2) + '\n')

    @classmethod
    def load(cls, file: Path) -> 'StoreFacts':
        """Read ``store.json``.

        Raises:
            InputError: There is none, or it is damaged or of another layout.
        """
        try:
            given = json.loads(file.read_text())
        except FileNotFoundError as error:
            raise InputError(
                f'{file.parent} holds no label maps: there is no {file.name}. Make '
                'them with tools/dataset_converters/make_label_maps.py, or correct the path.'
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
