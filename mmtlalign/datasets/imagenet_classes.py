"""Classes of ImageNet-1k, of its subsets A, R and O, and the labels of ReaL.

A class is named by its WordNet id (``n01440764``), which is also the name of its
folder, or by its index among the sorted ids. The lists are timm's, equal to those of
the authors; that of ImageNet-O is in ``imagenet_o_indices.txt``.
"""

import json
from collections.abc import Collection
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from mmtlalign.errors import InputError


class Subset(NamedTuple):
    """A test set of some classes of ImageNet-1k.

    Attributes:
        title: Name of the test set.
        images: Published number of images.
        file: Name of the file with the indices of its classes.
    """

    title: str
    images: int
    file: str


SUBSETS = {
    'a': Subset('ImageNet-A', 7500, 'imagenet_a_indices.txt'),
    'r': Subset('ImageNet-R', 30000, 'imagenet_r_indices.txt'),
    'o': Subset('ImageNet-O', 2000, 'imagenet_o_indices.txt'),
}
# Share of the class folders that must match a data set for it to be named.
ALIKE = 0.95


@cache
def wordnet_ids() -> tuple[str, ...]:
    """Return the WordNet ids of the 1000 classes, in the order of the labels."""
    return tuple(_read('imagenet_synsets.txt').split())


@cache
def subset_indices(which: str) -> tuple[int, ...]:
    """Return the indices of the 200 classes of a subset, ascending.

    Args:
        which: ``'a'``, ``'r'`` or ``'o'``.

    Raises:
        InputError: There is no such subset.
    """
    if which not in SUBSETS:
        raise InputError(
            f"which={which!r} is not a subset of ImageNet; choose one of 'a', 'r', 'o'"
        )
    lines = _read(SUBSETS[which].file).splitlines()
    return tuple(int(n) for li in lines if li[:1] != '#' for n in li.split())


def subset_labels(which: str) -> dict[str, int]:
    """Return the indices of the classes of a subset, by WordNet id."""
    return {wordnet_ids()[index]: index for index in subset_indices(which)}


def real_labels(file: str | None = None) -> list[list[int]]:
    """Return the labels of the 50,000 validation images: none, one or several each.

    Args:
        file: ``real.json`` of the authors. Defaults to None: timm's copy.

    Raises:
        InputError: The file is not a list of lists of labels.
    """
    if not file:
        return json.loads(_read('imagenet_real_labels.json'))
    try:
        labels = json.loads(Path(file).read_text())
        if not all(0 <= n < 1000 for own in labels for n in own):
            raise ValueError('a label is outside 0…999')
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"'{file}' must be a JSON list with a list of labels (0…999) for each "
            f'validation image ({type(error).__name__}: {error}); take real.json of '
            "reassessed-imagenet, or None for timm's copy"
        ) from error
    return labels


def describe_folders(names: Collection[str]) -> str:
    """Return the name of the data set that class folders look like; '' if of none.

    Args:
        names: Names of the class folders.
    """
    if names and all(name.isdecimal() for name in names):
        return 'ImageNetV2, whose folders are numbers'
    sets = {SUBSETS[which].title: set(subset_labels(which)) for which in SUBSETS}
    sets['ImageNet-1k with all 1000 classes'] = set(wordnet_ids())
    for title, own in sets.items():
        if len(own & set(names)) >= ALIKE * max(len(own), len(names)):
            return title
    return ''


@cache
def _read(name: str) -> str:
    """Return the text of a list, from this package or else from timm."""
    own = resources.files('mmtlalign.datasets') / name
    if own.is_file():
        return own.read_text(encoding='utf-8')
    try:
        found = resources.files('timm.data') / '_info' / name
        return found.read_text(encoding='utf-8')
    except (ImportError, OSError) as error:
        raise InputError(
            f'timm has no file {name}, a list of ImageNet classes or labels ({error}); '
            'update timm: pip install -U timm'
        ) from error
