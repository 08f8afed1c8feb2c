"""Trace a mixed batch through one forward pass of a network.

:func:`trace` is for training loops in plain PyTorch. The heads use its parts:
:func:`trace_forward` connects a reader with one forward pass, :class:`MixTracer` is the
reader that follows the share of the partner.

Shapes: ``B`` batch, ``P`` special tokens, ``N`` image tokens, ``S`` share columns,
``K`` classes.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError, TraceError
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing import propagate
from mmtlalign.tracing.attach import attached, bare_model, context_of
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.tracer import Tracer

SomeReader = TypeVar('SomeReader', bound=Reader)


@contextlib.contextmanager
def trace(
    backbone: nn.Module,
    mix: Mix,
    learnt_weights: str | None = None,
    **options: Any,
) -> Iterator['MixTracer']:
    """Trace a mixed batch through one forward pass.

    ::

        with mmtlalign.trace(backbone, mix) as trace:
            logits = backbone(mix.images)
        target = trace.target()

    Args:
        backbone: The network. If :func:`attach` has not been called for it, it is
            attached for this forward pass only. It may be compiled, or wrapped in
            ``DistributedDataParallel``.
        mix: The mixed batch, whose ``images`` are passed to the backbone.
        learnt_weights: Rule for a backbone with learnt weights in place of attention,
            ``'mean_gates'``, ``'no_gates'`` or ``'exact'``, if it is attached here; see
            :func:`mmtlalign.attach`. Defaults to None.
        **options: ``layers``, ``residual`` and ``head_token_rule`` of
            :class:`Tracer`.

    Yields:
        MixTracer: After the forward pass its ``history`` has the share (B, P + N, 1)
        after every attention, and ``grids`` and ``prefixes`` the token grid and the
        number P of special tokens at that point.

    Raises:
        UnsupportedError: The backbone cannot be traced.
        TraceError: There was not exactly one forward pass, or it had another batch.
    """
    backbone = bare_model(backbone)
    with attached(backbone, learnt_weights):
        tracer = MixTracer(backbone, mix, **options)
        with mix.apply_in_backbone(backbone), trace_forward(backbone, tracer):
            yield tracer


@contextlib.contextmanager
def trace_forward(backbone: nn.Module, reader: SomeReader) -> Iterator[SomeReader]:
    """Pass the events of one forward pass of an attached backbone to a reader.

    Args:
        backbone: Backbone after :func:`attach`, without a wrapper.
        reader: Reader of the forward pass.

    Yields:
        The reader.

    Raises:
        InputError: The backbone is not attached.
        TraceError: The backbone is being traced already, or not every attention was
            run exactly once.
    """
    name = type(backbone).__name__
    context = context_of(backbone)
    if context is None:
        raise InputError(
            f'{name} is not attached: call mmtlalign.attach(backbone) once, when the '
            'model is built.'
        )
    if context.reader is not None:
        raise TraceError(f'{name} is already being traced: end that trace first.')
    context.reader = reader
    try:
        yield reader
    finally:
        context.reader = None
    if reader.seen != context.attentions:
        advice = 'run exactly one forward of the whole backbone while it is traced.'
        if reader.seen % context.attentions:
            advice += (
                ' If you did: a block that runs twice or not at all cannot be traced; '
                'after blocks were changed, call mmtlalign.detach and attach again; '
                'another version of its library may compute attention in a way that '
                'is not supported.'
            )
        raise TraceError(
            f'The trace saw {reader.seen} attentions of {name}, which has '
            f'{context.attentions}: {advice}'
        )


def check_traced(reader: Reader) -> None:
    """Check that the forward pass of a trace has begun.

    Raises:
        TraceError: The reader has seen no attention.
    """
    if not reader.seen:
        raise TraceError(
            'The trace has seen no forward pass: run the network inside it, and read '
            'shares and targets after that.'
        )


class MixTracer(Tracer):
    """Tracer of the partner's share of a mixed batch.

    Args:
        backbone: Backbone after :func:`attach`.
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
        self._outputs = partial(spec.count_outputs, backbone)

    def partner_shares(self) -> tuple[Tensor, ...]:
        """Return the partner's share (B,) at each output of the network.

        Special tokens that are not scored, such as registers, are left out.

        Raises:
            TraceError: The forward pass has not run.
        """
        check_traced(self)
        shares = self.output_shares(self._output())[: self._outputs()]
        return tuple(share.squeeze(-1) for share in shares)

    def targets(self) -> tuple[Tensor, ...]:
        """Return the traced labels (B, K) of each output that is scored.

        There is one, but for a distilled network, whose class and distillation tokens
        have a score and a target each.
        """
        return tuple(self.mix.target(share) for share in self.partner_shares())

    def target(self) -> Tensor:
        """Return the traced labels (B, K) at the output of the network.

        For a distilled network it is the mean of :meth:`targets`, as for a score that
        is the mean of both tokens' scores.
        """
        return torch.stack(self.targets()).mean(dim=0)


def label_tracer(
    backbone: nn.Module, labels: Tensor, grid: tuple[int, int], **options: Any
) -> Tracer:
    """Return a tracer that starts each image token with its own label vector.

    Args:
        backbone: Backbone after :func:`attach`.
        labels: Labels of the image tokens (B, N, S); special tokens start at their
            mean.
        grid: Token rows and columns.
        **options: ``layers``, ``residual`` and ``head_token_rule`` of
            :class:`Tracer`.
    """
    prefix = backbone_spec(backbone).prefix(backbone)
    start = propagate.add_prefix(labels, labels.mean(dim=1), prefix)
    return Tracer(start, grid, prefix, backbone.trace_context.attentions, **options)


def start_share(backbone: nn.Module, mix: Mix) -> Tensor:
    """Return the initial share of each token of a mixed batch (B, P + N, 1).

    Image tokens start at their share of the mask, special tokens at the share by area
    (TL-Align, ICCV 2023, §3.2), of the pixels that the network reads.
    """
    spec = backbone_spec(backbone)
    grid = token_grid(backbone, mix.images.shape[-2:])
    patch = spec.patch(backbone)
    seen = crop_to_tokens(mix, grid, patch)
    share = seen.token_share(grid, patch)
    return propagate.add_prefix(share, seen.area()[:, None], spec.prefix(backbone))


def token_grid(backbone: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    """Return the token rows and columns for images of ``size`` (height, width)."""
    spec = backbone_spec(backbone)
    if spec.grid is not None:
        return spec.grid(backbone, size)
    patch = spec.patch(backbone)
    return math.ceil(size[0] / patch[0]), math.ceil(size[1] / patch[1])


def crop_to_tokens(mix: Mix, grid: tuple[int, int], patch: tuple[int, int]) -> Mix:
    """Crop a batch to the pixels that the backbone's tokens cover."""
    kept = (..., slice(grid[0] * patch[0]), slice(grid[1] * patch[1]))
    return dataclasses.replace(mix, images=mix.images[kept], mask=mix.mask[kept])
