"""What one family of official files looks like."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmtlalign.engine.weight_tables.changes import Change

__all__ = ['Family', 'Pair']

Names = str | tuple[str, ...]
Pair = tuple[Names, Names] | tuple[Names, Names, Change]


@dataclass(frozen=True)
class Family:
    """A table that reads both ways, and where its files keep the weights.

    Args:
        about: Whose files these are, for the command line.
        pairs: Official name, our name, and a :class:`Change` where the values
            differ. Where one tensor is several on the other side, that side is
            a tuple. ``{field}`` is one part of a name between dots, or a piece of
            it, and returns under the same field on the other side.
        keys: Entries of an official file that may hold the weights; the first that
            is there does, and a file written by us has the first.
        left_out: Official names that are not part of the network of ours: what it
            computes by itself, or a head of pretraining.
        stages: An official name and ours that every stage has once; its highest
            number stands for ``{last}`` in ``pairs``.
        wrappers: Beginnings of official names that are taken off.
    """

    about: str
    pairs: Sequence[Pair]
    keys: tuple[str, ...] = ('model', 'state_dict')
    left_out: tuple[str, ...] = ()
    stages: tuple[str, str] = ('', '')
    wrappers: tuple[str, ...] = ('module.', '_orig_mod.')
