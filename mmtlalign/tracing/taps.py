"""Taps: parameter-free stand-ins at seams that the hosts already have.

:func:`attach` puts taps into a backbone once, when the model is built. They
all hang on one :class:`Wire`; :func:`watch` puts a reader on it for the length
of one forward pass. Without a reader a tapped backbone is the stock one: same
state dict, same arithmetic.

What is known of backbones and attentions is registered beside their twins (see
``mmpretrain_vit.py``), and nothing is guessed: whatever is not registered and
looks like attention is an error when the model is built.
"""

import contextlib
import functools
import importlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import rules
from .tracer import ClassRows, Tracer, rides

_LOOKS_LIKE_ATTENTION = re.compile(r'atten|attn|msa(?![a-z])|mixer', re.IGNORECASE)


@dataclass
class Wire:
    """What the taps of one backbone share.

    Attributes:
        reader: The reader of the forward that is running, else None.
        attentions: Number of tapped attentions.
        moves_shares: Whether a share rides along in training, which decides
            what a checkpointed forward repeats.
    """

    reader: Tracer | ClassRows | None = None
    attentions: int = 0
    moves_shares: bool = False


@dataclass(frozen=True)
class Family:
    """What tracing has to know of a backbone class.

    Attributes:
        patch: Backbone to the token size ``(height, width)`` in pixels.
        prefix: Backbone to its number of special tokens.
        output: Backbone to ``'class'`` or ``'mean'``: what its last feature
            is. It raises ValueError for outputs that nothing can be read from.
    """

    patch: Callable[[nn.Module], tuple[int, int]]
    prefix: Callable[[nn.Module], int]
    output: Callable[[nn.Module], str]


@dataclass
class _Known:
    families: dict[type, Family] = field(default_factory=dict)
    attentions: dict[type, Callable[[nn.Module, Wire], None]] = field(
        default_factory=dict
    )
    helpers: dict[type, Callable[[nn.Module, Wire], None]] = field(default_factory=dict)


KNOWN = _Known()

# Files of this room that register backbones and attentions of a host.
TWINS = {'mmpretrain': ('mmpretrain_vit', 'mmpretrain_swin')}


def register_backbone(cls: type, family: Family) -> None:
    """Make a backbone class traceable."""
    KNOWN.families[cls] = family


def register_attention(cls: type):
    """Decorator for ``install(module, wire)``, which taps one attention."""

    def register(install):
        KNOWN.attentions[cls] = install
        return install

    return register


def register_helper(cls: type):
    """As :func:`register_attention`, for modules that move tokens otherwise."""

    def register(install):
        KNOWN.helpers[cls] = install
        return install

    return register


def family_of(backbone: nn.Module) -> Family:
    """The backbone's family; an unknown class is a TypeError naming the known."""
    _load_twins(type(backbone))
    for cls in type(backbone).__mro__:
        if cls in KNOWN.families:
            return KNOWN.families[cls]
    known = ', '.join(sorted(c.__name__ for c in KNOWN.families))
    raise TypeError(
        f'{type(backbone).__name__} cannot be traced: nothing is registered about '
        f'where its tokens start and what it outputs. Known backbones: {known}. '
        'See docs/add_a_backbone.md for how to register one.'
    )


@functools.cache
def _load_twins(backbone: type) -> None:
    """Import what is known of the backbone's host, and of no other host."""
    for cls in backbone.__mro__:
        for name in TWINS.get(cls.__module__.partition('.')[0], ()):
            importlib.import_module(f'.{name}', __package__)


def attach(backbone: nn.Module, moves_shares: bool = True) -> Wire:
    """Tap every attention of a backbone, in place, once.

    Args:
        backbone: A backbone of a registered class. Its state dict and its
            class do not change; deep copies get a wire of their own.
        moves_shares: False where rows are only read (TransMix).

    Raises:
        TypeError: If the backbone's class, or a module in it that looks like
            attention, is not registered.
    """
    family_of(backbone)
    wire = getattr(backbone, 'trace_wire', None)
    if wire is None:
        wire = Wire()
        _install(backbone, wire)
        backbone.trace_wire = wire
    wire.moves_shares = wire.moves_shares or moves_shares
    return wire


def _install(backbone: nn.Module, wire: Wire) -> None:
    inside: tuple[str, ...] = ()
    todo = []
    for name, module in backbone.named_modules():
        if module is backbone or name.startswith(inside):
            continue
        if type(module) in KNOWN.attentions:
            todo.append((KNOWN.attentions[type(module)], module, 1))
            inside += (f'{name}.',)
        elif type(module) in KNOWN.helpers:
            todo.append((KNOWN.helpers[type(module)], module, 0))
        elif _LOOKS_LIKE_ATTENTION.search(type(module).__name__):
            known = ', '.join(sorted(c.__name__ for c in KNOWN.attentions))
            raise TypeError(
                f'{type(backbone).__name__}.{name} is a {type(module).__name__}, '
                f'whose way of moving tokens is not known. Known attentions: '
                f'{known}. Shares that skip a layer would be wrong, so register '
                'it first: docs/add_a_backbone.md.'
            )
    for install, module, attentions in todo:
        install(module, wire)
        wire.attentions += attentions
    if not wire.attentions:
        raise TypeError(
            f'{type(backbone).__name__} has no attention that could be tapped.'
        )


@contextlib.contextmanager
def watch(
    backbone: nn.Module, reader: Tracer | ClassRows
) -> Iterator[Tracer | ClassRows]:
    """Put a reader on the wire of an attached backbone for one forward.

    Raises:
        RuntimeError: If the forward did not pass every tapped attention once.
    """
    wire = backbone.trace_wire
    wire.reader = reader
    try:
        yield reader
    finally:
        wire.reader = None
    if reader.seen != wire.attentions:
        raise RuntimeError(
            f'The trace met {reader.seen} attentions of '
            f'{type(backbone).__name__}, which has {wire.attentions}: run exactly '
            'one forward of the whole backbone while it is watched.'
        )


class AttentionTap:
    """Stands in for ``scaled_dot_product_attention(q, k, v, dropout_p)``."""

    def __init__(self, wire: Wire):
        self.wire = wire

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0
    ) -> Tensor:
        """Arguments (B, H, N, D); output (B, H, N, D)."""
        scale = 1 / math.sqrt(query.shape[-1])
        reader = self.wire.reader
        if reader is not None:
            return reader.attend(query, key, value, scale, dropout_p)
        if self.wire.moves_shares and query.requires_grad and rides(value, dropout_p):
            # Gradient with no reader: activation checkpointing repeats the
            # forward, and must meet tensors of the same shapes.
            return _ride_nothing(query, key, value, scale)
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout_p)


def _ride_nothing(query, key, value, scale):
    nothing = torch.zeros(
        value.shape[0], value.shape[2], 1, dtype=torch.float32, device=value.device
    )
    return rules.ride(query, key, value, nothing, scale)[0]
