"""Attach tracing to a network that stays as it is, read a forward pass, detach again.

:func:`attach` registers hooks once, when the model is built. All of them share one
:class:`TraceContext`; :func:`trace_forward` puts a reader on it for one forward pass.
Without a reader an attached network is the stock one: same state dict, same
arithmetic. :func:`detach` takes everything off.

An adapter says for each attention of a host how it is read, in one of four ways:

* :meth:`TraceContext.replace_attention`: the module calls fused attention through an
  attribute, whose place an :class:`AttentionHook` takes;
* :meth:`TraceContext.read_weights`: the module has a softmax of its own;
* :meth:`TraceContext.capture`: the module computes attention in the middle of its
  forward, whose calls of PyTorch's functions are intercepted;
* :meth:`TraceContext.swap_class`: none of these, and a subclass computes the same.

:meth:`TraceContext.before` and :meth:`TraceContext.after` report what else a module
does to the tokens.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.errors import InputError, TraceError, UnsupportedError
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing import propagate
from mmtlalign.tracing.kernels.attention_hook import AttentionHook, capturing
from mmtlalign.tracing.support import (
    KNOWN,
    backbone_spec,
    hosts_of,
    load_adapters,
    looks_like_attention,
)
from mmtlalign.tracing.tracer import Reader, Tracer

SomeReader = TypeVar('SomeReader', bound=Reader)


@dataclasses.dataclass
class TraceContext:
    """What the hooks of one backbone share.

    Attributes:
        reader: Reader of the forward pass that is running, else None.
        attentions: Number of attentions that are read.
        has_head_tokens: Whether head tokens are appended in an attention (DHVT).
        late_tokens: How many special tokens join behind the patch embedding.
        undo: Takes off what was attached, the last first.
    """

    reader: Reader | None = None
    attentions: int = 0
    has_head_tokens: bool = False
    late_tokens: int = 0
    undo: list[Callable[[], object]] = dataclasses.field(
        default_factory=list, repr=False
    )

    def before(self, module: nn.Module, report: Callable) -> None:
        """Call ``report(reader, module, *args, **kwargs)`` before a forward."""
        hook = EventHook(self, report)
        handle = module.register_forward_pre_hook(hook.before, with_kwargs=True)
        self.undo.append(handle.remove)

    def after(self, module: nn.Module, report: Callable) -> None:
        """Call ``report(reader, module, output)`` after a forward."""
        handle = module.register_forward_hook(EventHook(self, report).after)
        self.undo.append(handle.remove)

    def in_windows(self, module: nn.Module, enter: Callable) -> None:
        """Read the attention inside a module's forward as attention in windows.

        Args:
            module: Puts the windows together again at the end of its forward.
            enter: Called as in :meth:`before`; calls ``reader.enter_windows``.
        """
        self.before(module, enter)
        self.after(module, _leave_windows)

    def read_weights(self, softmax: nn.Module) -> None:
        """Read an attention from the output (..., H, Nq, Nk) of its softmax module."""
        self.after(softmax, _weigh)

    def replace_attention(
        self,
        module: nn.Module,
        scale: float | None = None,
        name: str = 'scaled_dot_product_attention',
    ) -> None:
        """Read an attention whose function is an attribute of the module.

        Args:
            module: Calls the function as PyTorch's is called.
            scale: Factor of the logits, where the function has one of its own that
                its callers do not give. Defaults to None.
            name: Name of the attribute.
        """
        setattr(module, name, AttentionHook(self, getattr(module, name), scale))
        self.undo.append(partial(_unwrap, module, name))

    def capture(self, module: nn.Module) -> None:
        """Read an attention that is computed in the middle of a module's forward."""
        self.swap_class(module, capturing(type(module)))  # type: ignore[arg-type]

    def swap_class(self, module: nn.Module, cls: type) -> None:
        """Make a module an object of a subclass that has the same parameters.

        Args:
            module: Changed in place.
            cls: Its forward calls ``self.attention_hook`` in place of
                ``F.scaled_dot_product_attention``.
        """
        self.undo.append(partial(setattr, module, '__class__', type(module)))
        self.undo.append(partial(delattr, module, 'attention_hook'))
        module.__class__ = cls
        module.attention_hook = AttentionHook(self, F.scaled_dot_product_attention)


def _leave_windows(reader: Reader, module: nn.Module, output: object) -> None:
    reader.leave_windows()


def _weigh(reader: Reader, module: nn.Module, output: Tensor) -> None:
    reader.weigh(output)


def _unwrap(module: nn.Module, name: str) -> None:
    """Put back the function that an attention hook calls."""
    setattr(module, name, getattr(module, name).function)


class EventHook:
    """A forward hook that does something only while there is a reader."""

    def __init__(self, context: TraceContext, report: Callable[..., object]):
        self.context = context
        self.report = report

    def before(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Tell the reader, with the arguments of the forward."""
        if self.context.reader is not None:
            self.report(self.context.reader, module, *args, **kwargs)

    def after(self, module: nn.Module, args: tuple, output: object) -> None:
        """Tell the reader, with the output of the forward."""
        if self.context.reader is not None:
            self.report(self.context.reader, module, output)


def attach(backbone: nn.Module) -> TraceContext:
    """Put hooks on every attention of a backbone, in place; a second call does nothing.

    Its class and its state dict do not change; deep copies get a context of their own.

    Args:
        backbone: Backbone of a supported class.

    Raises:
        UnsupportedError: The backbone's class, or a module in it that looks like
            attention, is not known.
    """
    context = getattr(backbone, 'trace_context', None)
    if context is None:
        spec = backbone_spec(backbone)
        load_adapters(hosts_of(backbone))
        installers = _find_attentions(backbone)
        context = TraceContext(late_tokens=spec.late_tokens(backbone))
        try:
            for install, module, attentions in installers:
                install(module, context)
                context.attentions += attentions
            if not context.attentions:
                raise UnsupportedError(
                    f'{type(backbone).__name__} has no attention that can be traced.'
                )
        except BaseException:
            _undo(context)
            raise
        backbone.trace_context = context
    return context


def _find_attentions(backbone: nn.Module) -> list[tuple[Callable, nn.Module, int]]:
    """List what has to be attached: installer, module, number of attentions."""
    # What is inside of an attention is part of it.
    inside: tuple[str, ...] = ()
    found = []
    for name, module in backbone.named_modules():
        if module is backbone or name.startswith(inside):
            continue
        # A class of fast/ names the stock class that it stands for.
        cls = vars(type(module)).get('stands_for', type(module))
        if cls in KNOWN.attentions:
            found.append((KNOWN.attentions[cls], module, 1))
            inside += (f'{name}.',)
        elif cls in KNOWN.token_modules:
            found.append((KNOWN.token_modules[cls], module, 0))
        elif looks_like_attention(type(module)):  # type: ignore[arg-type]
            known = ', '.join(sorted(c.__name__ for c in KNOWN.attentions))
            raise UnsupportedError(
                f'{type(backbone).__name__}.{name} is a {type(module).__name__}, '
                f'whose way of moving tokens is not known. Known attentions: '
                f'{known}. Shares that skip a layer would be wrong, so register '
                'it first: docs/add_a_backbone.md.'
            )
    return found


def detach(backbone: nn.Module) -> None:
    """Take off what :func:`attach` put on: every object is the stock one again.

    Args:
        backbone: Attached or not.

    Raises:
        TraceError: A forward pass is being read.
    """
    context = getattr(backbone, 'trace_context', None)
    if context is None:
        return
    if context.reader is not None:
        raise TraceError(
            f'{type(backbone).__name__} is being traced: detach it after the forward '
            'pass.'
        )
    _undo(context)
    del backbone.trace_context


def _undo(context: TraceContext) -> None:
    while context.undo:
        context.undo.pop()()


@contextlib.contextmanager
def trace_forward(backbone: nn.Module, reader: SomeReader) -> Iterator[SomeReader]:
    """Let a reader read one forward pass of an attached backbone.

    Raises:
        InputError: The backbone is not attached.
        TraceError: The backbone is being traced already, or the forward pass did not
            meet every attention once.
    """
    context = getattr(backbone, 'trace_context', None)
    if context is None:
        raise InputError(
            f'{type(backbone).__name__} is not attached: call '
            'mmtlalign.attach(backbone) once, when the model is built.'
        )
    if context.reader is not None:
        raise TraceError(
            f'{type(backbone).__name__} is being traced already: end that trace first.'
        )
    context.reader = reader
    try:
        yield reader
    finally:
        context.reader = None
    if reader.seen != context.attentions:
        advice = 'run exactly one forward of the whole backbone while it is traced.'
        if reader.seen % context.attentions:
            advice += (
                ' If you did, its library computes attention in a way that is not '
                'known here: install the version that requirements/ pins.'
            )
        raise TraceError(
            f'The trace met {reader.seen} attentions of '
            f'{type(backbone).__name__}, which has {context.attentions}: {advice}'
        )


class MixTracer(Tracer):
    """Tracer of the partner's share of a mixed batch.

    Args:
        backbone: Attached.
        mix: The mixed batch.
        **options: ``layers``, ``residual`` and ``head_token_rule`` of
            :class:`Tracer`.

    Attributes:
        mix: The mixed batch.
    """

    def __init__(self, backbone: nn.Module, mix: Mix, **options: Any):
        spec = backbone_spec(backbone)
        super().__init__(
            start_share(backbone, mix),
            token_grid(backbone, mix.images.shape[-2:]),
            spec.prefix(backbone),
            backbone.trace_context.attentions,
            **options,
        )
        self.mix = mix
        self._output = partial(spec.output, backbone)

    def partner_shares(self) -> tuple[Tensor, ...]:
        """Return the partner's share at each output of the network, each (B,)."""
        return tuple(s.squeeze(-1) for s in self.output_shares(self._output()))

    def target(self) -> Tensor:
        """Return the labels (B, K) that arrive at the first output of the network."""
        return self.mix.target(self.partner_shares()[0])


@contextlib.contextmanager
def trace(backbone: nn.Module, mix: Mix, **options: Any) -> Iterator[MixTracer]:
    """Trace a mixed batch through one forward pass.

    ::

        with mmtlalign.trace(backbone, mix) as trace:
            logits = backbone(mix.images)
        target = trace.target()

    Args:
        backbone: Attached; one that is not is attached for this forward pass.
        mix: The mixed batch, whose ``images`` the backbone is given.
        **options: ``layers``, ``residual`` and ``head_token_rule`` of
            :class:`Tracer`.

    Yields:
        MixTracer: After the forward pass its ``history`` has the share (B, P + N, 1)
        after every attention, ``grids`` the token grid and ``prefixes`` the number P
        of special tokens of each.

    Raises:
        UnsupportedError: The backbone cannot be traced.
        TraceError: There was not exactly one forward pass.
    """
    attached = getattr(backbone, 'trace_context', None) is not None
    attach(backbone)
    try:
        tracer = MixTracer(backbone, mix, **options)
        with mix.apply_in_backbone(backbone), trace_forward(backbone, tracer):
            yield tracer
    finally:
        if not attached:
            detach(backbone)


def token_grid(backbone: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    """Return the token rows and columns for images of ``size`` (height, width)."""
    spec = backbone_spec(backbone)
    if spec.grid is not None:
        return spec.grid(backbone, size)
    patch = spec.patch(backbone)
    return math.ceil(size[0] / patch[0]), math.ceil(size[1] / patch[1])


def start_share(backbone: nn.Module, mix: Mix) -> Tensor:
    """Return the share that each token of a mixed batch starts with (B, P + N, 1).

    Patches start at their own share, special tokens at the share by area (TL-Align,
    ICCV 2023, §3.2).
    """
    spec = backbone_spec(backbone)
    grid = token_grid(backbone, mix.images.shape[-2:])
    patch = spec.patch(backbone)
    share = crop_to_tokens(mix, grid, patch).token_share(grid, patch)
    return propagate.add_prefix(share, mix.area()[:, None], spec.prefix(backbone))


def crop_to_tokens(mix: Mix, grid: tuple[int, int], patch: tuple[int, int]) -> Mix:
    """Drop the pixels of a mask that a backbone leaves out of its tokens."""
    height, width = grid[0] * patch[0], grid[1] * patch[1]
    return dataclasses.replace(mix, mask=mix.mask[..., :height, :width])


def label_tracer(
    backbone: nn.Module, labels: Tensor, grid: tuple[int, int], **options: Any
) -> Tracer:
    """Make a tracer that starts every image token with columns of its own.

    Args:
        backbone: Attached.
        labels: (B, N, S); special tokens start at the mean of the image's.
        grid: Token rows and columns.
        **options: ``layers``, ``residual`` and ``head_token_rule`` of
            :class:`Tracer`.
    """
    prefix = backbone_spec(backbone).prefix(backbone)
    start = propagate.add_prefix(labels, labels.mean(dim=1), prefix)
    return Tracer(start, grid, prefix, backbone.trace_context.attentions, **options)
