"""The form of a table of names: pairs, and changes of values that have a way back."""

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
    """A table of names that reads both ways, and where files keep the weights.

    Attributes:
        about: Whose files these are, for the command line.
        pairs: Official name, our name, and a :class:`ValueMap` where the values
            differ. Where one tensor is several on the other side, that side is
            a tuple. ``{field}`` is one part of a name between dots, or a piece of
            it, and returns under the same field on the other side.
        entries: Entries of an official file that may hold the weights; the first that
            is there does, and a file written by us has the first.
        left_out: Official names that are not part of the network of ours: what it
            computes by itself, or a head of pretraining.
        stages: An official name and ours that every stage has once; its highest
            number stands for ``{last}`` in ``pairs``.
        wrappers: Beginnings of official names that are taken off.
    """

    about: str
    pairs: Sequence[Pair]
    entries: tuple[str, ...] = ('model', 'state_dict')
    left_out: tuple[str, ...] = ()
    stages: tuple[str, str] = ('', '')
    wrappers: tuple[str, ...] = ('module.', '_orig_mod.')
