"""The form of a table of names: pairs of names, and invertible changes of values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class ValueMap(NamedTuple):
    """Two functions that undo each other.

    Each takes the tensors of one side of a pair and returns those of the other, in the
    order in which the pair names them.

    Attributes:
        to_ours: From official values to ours.
        to_official: From our values to the official ones.
    """

    to_ours: Callable[..., tuple[Tensor, ...]]
    to_official: Callable[..., tuple[Tensor, ...]]


Names = str | tuple[str, ...]
Pair = tuple[Names, Names] | tuple[Names, Names, ValueMap]


@dataclass(frozen=True)
class KeyMap:
    """A table of names for both directions, and where files hold the weights.

    Attributes:
        about: Whose files these are, for the command line.
        pairs: Official name, our name, and a :class:`ValueMap` where the values
            differ. Where several tensors correspond to one, their names are a tuple.
            ``{field}`` stands for one part of a name between dots, or a piece of it,
            which is the same on both sides.
        entries: Entries of an official file that may hold the weights; the first that
            exists is read, and files that we write have the first of them.
        left_out: Official names that are not part of our network: buffers that it
            computes by itself, or a head of pretraining.
        stages: An official name and ours that every stage has once; the highest stage
            number replaces ``{last}`` in ``pairs``.
        wrappers: Prefixes of official names that are removed.
    """

    about: str
    pairs: Sequence[Pair]
    entries: tuple[str, ...] = ('model', 'state_dict')
    left_out: tuple[str, ...] = ()
    stages: tuple[str, str] = ('', '')
    wrappers: tuple[str, ...] = ('module.', '_orig_mod.')
