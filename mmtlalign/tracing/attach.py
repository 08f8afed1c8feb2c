"""Taps: parameter-free stand-ins at seams that the hosts already have.

:func:`attach` puts taps into a backbone once, when the model is built. They
all hang on one :class:`TraceContext`; :func:`trace_forward` puts a reader on it for the length
of one forward pass. Without a reader a tapped backbone is the stock one: same
state dict, same arithmetic.

Two kinds of taps exist. :class:`AttentionHook` takes the place of a function
that a module calls through an attribute. :func:`listen` is for modules that
compute attention in the middle of their forward: the stock forward runs, and
what it asks of PyTorch passes the tap.

From a mixed batch to the shares that arrive, and to pictures of the way.
"""

import contextlib
import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmtlalign.compat.torch_2_1 import outside_old_graphs
from mmtlalign.errors import TraceError, UnsupportedError
from mmtlalign.fast.attention import attend, choose_kernel
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing import propagate
from mmtlalign.tracing.kernels.value_channels import (
    attention_with_share,
    can_augment,
)
from mmtlalign.tracing.support import (
    KNOWN,
    backbone_spec,
    hosts_of,
    load_adapters,
    looks_like_attention,
)
from mmtlalign.tracing.tracer import Reader, Tracer

_SOFTMAX = (torch.softmax, Tensor.softmax, F.softmax)


@dataclass
class TraceContext:
    """What the taps of one backbone share.

    Attributes:
        reader: The reader of the forward that is running, else None.
        attentions: Number of tapped attentions.
        appends: Whether head tokens are appended in an attention (DHVT).
        joins: How many special tokens join late.
        shared: What attentions of one host share, by names of theirs.
    """

    reader: Reader | None = None
    attentions: int = 0
    appends: bool = False
    joins: int = 0
    shared: dict[str, object] = field(default_factory=dict)


def attach(backbone: nn.Module) -> TraceContext:
    """Tap every attention of a backbone, in place, once.

    Args:
        backbone: A backbone of a registered class. Its state dict and its
            class do not change; deep copies get a context of their own.

    Raises:
        TypeError: If the backbone's class, or a module in it that looks like
            attention, is not registered.
    """
    family = backbone_spec(backbone)
    context = getattr(backbone, 'trace_context', None)
    if context is None:
        load_adapters(hosts_of(backbone))
        context = TraceContext(joins=family.joins(backbone))
        _install(backbone, context)
        backbone.trace_context = context
    return context


def _install(backbone: nn.Module, context: TraceContext) -> None:
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
        elif looks_like_attention(type(module)):
            known = ', '.join(sorted(c.__name__ for c in KNOWN.attentions))
            raise UnsupportedError(
                f'{type(backbone).__name__}.{name} is a {type(module).__name__}, '
                f'whose way of moving tokens is not known. Known attentions: '
                f'{known}. Shares that skip a layer would be wrong, so register '
                'it first: docs/add_a_backbone.md.'
            )
    for install, module, attentions in todo:
        install(module, context)
        context.attentions += attentions
    if not context.attentions:
        raise UnsupportedError(
            f'{type(backbone).__name__} has no attention that could be tapped.'
        )


@contextlib.contextmanager
def trace_forward(backbone: nn.Module, reader: Reader) -> Iterator[Reader]:
    """Put a reader on the context of an attached backbone for one forward.

    Raises:
        RuntimeError: If the forward did not pass every tapped attention once.
    """
    context = backbone.trace_context
    context.reader = reader
    try:
        yield reader
    finally:
        context.reader = None
    if reader.seen != context.attentions:
        raise TraceError(
            f'The trace met {reader.seen} attentions of '
            f'{type(backbone).__name__}, which has {context.attentions}: run exactly '
            'one forward of the whole backbone while it is watched. If you did, '
            'its library computes attention in a way that is not known here: '
            'install the version that requirements/ pins.'
        )


class AttentionHook:
    """Stands in for ``F.scaled_dot_product_attention``, fused as it is.

    Args:
        context: Of the backbone.
        scale: Factor of the logits where the call gives none. Defaults to
            None: ``1 / sqrt(D)``.
        stock: What the module called before, with its own scale, where that
            was not PyTorch's function; it computes the output. Defaults to
            None: PyTorch's function.
        rides: Whether columns may ride in the call (:mod:`mmtlalign.tracing.kernels.value_channels`):
            a module that calls this tap in every forward, or in those that come after
            one with columns. Defaults to False.

    Attributes:
        kernel: As of :func:`mmtlalign.attention.attend`; ``'fused'`` is the stock one.
        room: How many columns rode last.
    """

    def __init__(
        self,
        context: TraceContext,
        scale: float | None = None,
        stock: Callable | None = None,
        rides: bool = False,
    ):
        self.context = context
        self.scale = scale
        self.stock = stock
        self.rides = rides
        self.room = 0
        self.kernel = 'fused'

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **kwargs,
    ) -> Tensor:
        """Arguments and output as of the function; queries (B, H, N, D)."""
        if is_causal or any(kwargs.values()):
            raise UnsupportedError(
                f'is_causal={is_causal}, {kwargs}: causal and grouped-query '
                'attention have no rule; label tracing is for images.'
            )
        given = scale or self.scale
        reader = self.context.reader
        if self.explicit(query, key, attn_mask):
            return attend(
                query,
                key,
                value,
                scale=given,
                dropout_p=dropout_p,
                kernel='explicit',
                seen=None if reader is None else reader.weigh,
            )
        if self.rides and can_augment(query, key, value, attn_mask, dropout_p):
            columns = self.columns(reader, query, key)
            if columns is not None:
                out, moved = attention_with_share(query, key, value, columns, given)
                if reader is not None:
                    reader.arrive(moved)
                return out
        if reader is not None:
            factor = given or 1 / math.sqrt(query.shape[-1])
            reader.attend(query, key, factor, attn_mask)
        # As the module asked for it, so that an exported graph is the stock one.
        if self.stock is not None:
            return self.stock(query, key, value, attn_mask, dropout_p=dropout_p)
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p=dropout_p, scale=given
        )

    def columns(self, reader, query: Tensor, key: Tensor) -> Tensor | None:
        """What rides (B, N, S), or None.

        Without a reader as many zeros as rode last, if there is a gradient: when
        checkpointing computes a layer again, it keeps the same tensors, and rounds them
        as the first time.
        """
        if reader is not None:
            columns = reader.passenger()
            self.room = 0 if columns is None else columns.shape[-1]
            return columns
        if self.room and query.requires_grad:
            return query.new_zeros(len(query), key.shape[-2], self.room)
        return None

    def explicit(self, query: Tensor, key: Tensor, mask: Tensor | None) -> bool:
        """Whether this call is computed step by step, by choice of :attr:`kernel`."""
        if self.kernel == 'fused' or mask is not None or self.stock is not None:
            return False
        kernel = self.kernel
        if kernel == 'auto':
            kernel = choose_kernel(query, key)
        return kernel == 'explicit'


class AttentionCalls(TorchFunctionMode):
    """While it is active, fused attention and softmax pass the tap."""

    def __init__(self, tap: AttentionHook):
        super().__init__()
        self.tap = tap

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self.tap(*args, **kwargs)
        out = func(*args, **kwargs)
        reader = self.tap.context.reader
        if func in _SOFTMAX and reader is not None:
            reader.weigh(out)
        return out


class Listening:
    """Mixin of twins: the stock forward, listened to.

    Subclasses that know more than the attention call, such as windows, override
    :meth:`before` and :meth:`after`.
    """

    @outside_old_graphs
    def forward(self, *args, **kwargs):
        reader, tap = self.context.reader, self.tap
        if reader is None and not tap.room:
            return super().forward(*args, **kwargs)
        if reader is not None:
            self.before(reader, *args, **kwargs)
        with AttentionCalls(tap):
            out = super().forward(*args, **kwargs)
        if reader is not None:
            self.after(reader)
        return out

    def before(self, reader, *args, **kwargs) -> None:
        """Called with the arguments of the forward."""

    def after(self, reader) -> None:
        """Called when the forward is done."""


def listen(module: nn.Module, context: TraceContext) -> None:
    """Tap a module whose forward computes one attention over all tokens."""
    adopt(_listening(type(module)), module, context)


def adopt(twin: type, module: nn.Module, context: TraceContext) -> None:
    """Make a module its twin, a subclass with the same parameters, in place."""
    module.__class__ = twin
    module.context = context
    if issubclass(twin, Listening):
        module.tap = AttentionHook(context, rides=True)


@functools.cache
def _listening(cls: type) -> type:
    return type(f'Traced{cls.__name__}', (Listening, cls), {'__reduce_ex__': _reduce})


def _reduce(module, protocol):
    """Twins made on the fly are found again by the class that they stand for."""
    return _rebuild, (type(module).__mro__[2],), module.__dict__


def _rebuild(cls):
    return object.__new__(_listening(cls))


def token_grid(backbone: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    """Token rows and columns for images of ``size`` (height, width) pixels."""
    family = backbone_spec(backbone)
    if family.grid is not None:
        return family.grid(backbone, size)
    patch = family.patch(backbone)
    return math.ceil(size[0] / patch[0]), math.ceil(size[1] / patch[1])


def start_share(backbone: nn.Module, mix: Mix) -> Tensor:
    """Where a mixed batch starts (B, P + N, 1): patches at their own share,
    special tokens at the area share (TL-Align, ICCV 2023, §3.2)."""
    family = backbone_spec(backbone)
    grid = token_grid(backbone, mix.images.shape[-2:])
    patch = family.patch(backbone)
    share = covered(mix, grid, patch).token_share(grid, patch)
    return propagate.add_prefix(share, mix.area()[:, None], family.prefix(backbone))


def covered(mix: Mix, grid: tuple[int, int], patch: tuple[int, int]) -> Mix:
    """The mix without the pixels that a backbone leaves out of its tokens."""
    height, width = grid[0] * patch[0], grid[1] * patch[1]
    return dataclasses.replace(mix, mask=mix.mask[..., :height, :width])


def share_tracer(backbone: nn.Module, mix: Mix, **options) -> Tracer:
    """A tracer for one forward of an attached backbone on a mixed batch.

    ``options`` are ``layers``, ``residual`` and ``merge`` of :class:`Tracer`.
    """
    return Tracer(
        start_share(backbone, mix),
        token_grid(backbone, mix.images.shape[-2:]),
        backbone_spec(backbone).prefix(backbone),
        backbone.trace_context.attentions,
        **options,
    )


def label_tracer(
    backbone: nn.Module, labels: Tensor, grid: tuple[int, int], **options
) -> Tracer:
    """A tracer that starts every image token with columns of its own.

    Args:
        backbone: Attached.
        labels: (B, N, S); special tokens start at the mean of the image's.
        grid: Token rows and columns.
        **options: As of :func:`share_tracer`.
    """
    prefix = backbone_spec(backbone).prefix(backbone)
    start = propagate.add_prefix(labels, labels.mean(dim=1), prefix)
    return Tracer(start, grid, prefix, backbone.trace_context.attentions, **options)


@torch.no_grad()
def trace(backbone: nn.Module, mix: Mix, **options) -> Tracer:
    """Trace one forward pass, for pictures and analysis.

    Args:
        backbone: Tapped or not; one that is not is left as it is, a copy of it
            is tapped.
        mix: The mixed batch. Its ``images`` are what the backbone is given.
        **options: As of :func:`share_tracer`.

    Returns:
        The tracer after the forward: ``history`` holds the share (B, P + N, 1)
        after every attention, ``grids`` the token grid of each, ``prefixes``
        the number P of special tokens that lead each.
    """
    if getattr(backbone, 'trace_context', None) is None:
        backbone = copy.deepcopy(backbone)
        attach(backbone)
    with trace_forward(backbone, share_tracer(backbone, mix, **options)) as tracer:
        backbone(mix.images)
    return tracer
