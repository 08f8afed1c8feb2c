"""Running a network with a reader, and a tracer for single attentions.

Shapes: ``B`` batch, ``P`` special tokens, ``N`` image tokens, ``S`` share columns.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.tracing import propagate
from mmtlalign.tracing.attach import TraceContext, attached, bare_model
from mmtlalign.tracing.events import Reader, flatten_batch
from mmtlalign.tracing.kernels import dispatch
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import trace_forward
from mmtlalign.tracing.tracer import Tracer

SomeReader = TypeVar('SomeReader', bound=Reader)


def backbone_of(model: nn.Module) -> nn.Module:
    """Return the backbone of a classifier, or the model itself if it has none."""
    model = bare_model(model)
    return bare_model(getattr(model, 'backbone', model))


def output_of(model: nn.Module) -> str:
    """Return where the label share of a network is read: ``'class'`` or ``'mean'``.

    A head of this package knows which tokens it scores, also where its backbone gives
    all of them.
    """
    output = getattr(getattr(bare_model(model), 'head', None), 'output', None)
    if output in ('class', 'mean'):
        return output
    backbone = backbone_of(model)
    return backbone_spec(backbone).output(backbone)


def check_eval(backbone: nn.Module) -> None:
    """Raise InputError if a backbone is in training mode."""
    if backbone.training:
        raise InputError(
            f'{type(backbone).__name__} is in training mode, in which it may drop '
            'tokens, weights and layers at random: call model.eval() first.'
        )


@torch.no_grad()
def read_forward(
    model: nn.Module,
    images: Tensor,
    make_reader: Callable[[TraceContext], SomeReader],
    *around: AbstractContextManager,
) -> SomeReader:
    """Run a backbone once with a reader, without gradient.

    Args:
        model: A backbone that can be traced, or a classifier with one; in eval mode. It
            is attached for this forward pass if it is not attached already.
        images: Normalised (B, 3, H, W).
        make_reader: Creates the reader after the backbone is attached.
        *around: Other contexts for the forward pass.

    Returns:
        The reader, after the forward pass.

    Raises:
        UnsupportedError: The backbone cannot be traced.
        InputError: It is in training mode.
    """
    backbone = backbone_of(model)
    check_eval(backbone)
    with attached(backbone) as context, ExitStack() as stack:
        reader = make_reader(context)
        for other in around:
            stack.enter_context(other)
        with trace_forward(backbone, reader):
            backbone(images)
    return reader


class StepTracer(Tracer):
    """Tracer that can reset its columns before each attention, and read them after.

    Subclasses override :meth:`before_attention` and :meth:`after_attention`.
    """

    _begun = -1

    def before_attention(self) -> None:
        """Set ``self.share`` (B, P + N, S) just before an attention."""

    def after_attention(self, moved: Tensor) -> None:
        """Read the share (B, Nq, S) moved by an attention, before the residual.

        Appended tokens come last.
        """

    def key_share(self, batch: int, keys: int) -> Tensor:
        """Return the share of the next attention's keys (B, Nk, S)."""
        self._begin()
        return super().key_share(batch, keys)

    def reduce_keys(self, pooling: Callable[[Tensor], Tensor]) -> None:
        """Pool the shares of the keys."""
        self._begin()
        super().reduce_keys(pooling)

    def append_tokens(self, count: int) -> None:
        """Append tokens that start at the mean share of all tokens."""
        self._begin()
        super().append_tokens(count)

    def attend(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
    ) -> None:
        """Move the share by one attention, given its queries and keys."""
        share = self.key_share(len(query), key.shape[2])
        self.move_share(dispatch.propagate(query, key, share, scale, mask))

    def weigh(self, weights: Tensor) -> None:
        """Move the share by one attention, given its weights."""
        weights = flatten_batch(weights)
        share = self.key_share(len(weights), weights.shape[-1])
        self.move_share(propagate.weigh(weights, share))

    def _begin(self) -> None:
        if self._begun != self.seen:
            self._begun = self.seen
            self.before_attention()

    def _end_attention(self, moved: Tensor) -> None:
        self.after_attention(moved)
        super()._end_attention(moved)
