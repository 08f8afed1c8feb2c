"""Changes of values that a pair of names may carry: named, and with a way back.

A change takes the tensors of one side of a pair and gives those of the other, in
the order in which the pair names them.

What one family of official files looks like.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mmtlalign.errors import InputError


class Change(NamedTuple):
    """Two functions that undo each other."""

    name: str
    forth: Callable[..., tuple[Tensor, ...]]
    back: Callable[..., tuple[Tensor, ...]]


def _to_unfold(value: Tensor) -> tuple[Tensor]:
    blocks = value.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return (blocks.transpose(-1, -2).flatten(-2),)


def _from_unfold(value: Tensor) -> tuple[Tensor]:
    blocks = value.unflatten(-1, (-1, 4)).transpose(-1, -2)
    return (blocks[..., [0, 2, 1, 3], :].flatten(-2),)


# The last axis of patch merging, 4C: the official Swin puts the four tokens after
# each other, (row 0, column 0), (1, 0), (0, 1), (1, 1), C channels each;
# `nn.Unfold` of mmcv puts the channels first and reads the four row by row.
MERGE_ORDER = Change('order of patch merging', _to_unfold, _from_unfold)


def _split(value: Tensor) -> tuple[Tensor, ...]:
    # Copies: a file would hold the whole of it three times otherwise.
    return tuple(part.clone() for part in value.chunk(3))


def _join(*parts: Tensor) -> tuple[Tensor]:
    return (torch.cat(parts),)


SPLIT_QKV = Change('queries, keys and values apart', _split, _join)


def _with_index(table: Tensor) -> tuple[Tensor, Tensor]:
    return table, _window_index(table)


def _without_index(table: Tensor, index: Tensor) -> tuple[Tensor]:
    return (table,)


def _window_index(table: Tensor) -> Tensor:
    """(w², w²) rows of the ((2w-1)², heads) table: one for each pair of tokens."""
    side = math.isqrt(len(table))
    if side**2 != len(table) or side % 2 == 0:
        raise InputError(
            f'A bias table has {len(table)} rows, but a square window of w tokens a '
            'side has (2w-1)². Models of other windows cannot be converted.'
        )
    window = (side + 1) // 2
    place = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    apart = place[:, None] - place[None] + window - 1
    return apart[..., 0] * side + apart[..., 1]


# mmpretrain saves the index beside the table. Others compute it, as here.
BIAS_WITH_INDEX = Change('bias table with its index', _with_index, _without_index)


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
