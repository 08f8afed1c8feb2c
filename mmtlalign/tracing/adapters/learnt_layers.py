"""Reading of layers that mix tokens with learnt weights, for all hosts.

Shapes: ``B`` batch, ``C`` channels, ``N`` tokens, ``J`` hidden tokens of a token MLP.
"""

from functools import partial

import torch
from torch import Tensor, nn

from mmtlalign.tracing.attach import TraceContext
from mmtlalign.tracing.events import Reader
from mmtlalign.tracing.learnt_weights import gates_of, move_by_kernel, move_by_layers
from mmtlalign.tracing.propagate import Padding


def read_linear(context: TraceContext, layer: nn.Linear) -> None:
    """Read one linear layer over the tokens (B, C, N)."""
    context.before(layer, _linear)


def read_token_mlp(
    context: TraceContext, first: nn.Linear, activation: nn.Module, last: nn.Linear
) -> None:
    """Read a token MLP at its activation, whose input is (B, C, J)."""
    report = partial(_token_mlp, context.learnt_weights, first, last)
    context.before(activation, report)


def read_gated_mlp(
    context: TraceContext,
    first: nn.Linear,
    activation: nn.Module,
    last: nn.Linear,
    gate_last: bool,
) -> None:
    """Read a token MLP in which one half of the hidden tokens gates the other.

    Args:
        context: Context of the backbone.
        first: Layer that computes both halves.
        activation: Activation of the half that gates.
        last: Layer after the product.
        gate_last: Whether the second half gates.
    """
    report = partial(_gated_mlp, context.learnt_weights, first, last, gate_last)
    context.before(activation, report)


def read_depthwise(context: TraceContext, layer: nn.Conv2d) -> None:
    """Read a depth-wise convolution of stride 1 that keeps the size of its map."""
    context.before(layer, _depthwise)


def _linear(reader: Reader, layer: nn.Linear, x: Tensor) -> None:
    move = partial(move_by_layers, last=layer.weight)
    reader.move_tokens(len(x), x.shape[-1], move)


@torch.no_grad()
def _token_mlp(
    rule: str,
    first: nn.Linear,
    last: nn.Linear,
    reader: Reader,
    activation: nn.Module,
    x: Tensor,
) -> None:
    gates = None if rule == 'no_gates' else gates_of(activation.forward, x)
    _move(reader, len(x), rule, first.weight, last.weight, gates)


@torch.no_grad()
def _gated_mlp(
    rule: str,
    first: nn.Linear,
    last: nn.Linear,
    gate_last: bool,
    reader: Reader,
    activation: nn.Module,
    x: Tensor,
) -> None:
    gates = (
        None if rule == 'no_gates' else activation.forward(x.detach().float().clone())
    )
    values = first.weight.chunk(2)[0 if gate_last else 1]
    _move(reader, len(x), rule, values, last.weight, gates)


def _move(
    reader: Reader,
    batch: int,
    rule: str,
    first: Tensor,
    last: Tensor,
    gates: Tensor | None,
) -> None:
    if rule == 'mean_gates' and gates is not None:
        gates = gates.mean(dim=1)
    move = partial(move_by_layers, last=last, first=first, gates=gates)
    reader.move_tokens(batch, first.shape[1], move)


def _depthwise(reader: Reader, layer: nn.Conv2d, x: Tensor) -> None:
    move = partial(
        move_by_kernel,
        grid=reader.grid,
        weight=layer.weight,
        padding=_padding(layer),
        dilation=layer.dilation,
    )
    reader.move_tokens(len(x), x.shape[-2:].numel(), move)


def _padding(layer: nn.Conv2d) -> Padding:
    """Return the padding of a convolution: left, right, top, bottom."""
    if layer.padding != 'same':
        high, wide = layer.padding
        return wide, wide, high, high
    steps = zip(layer.kernel_size, layer.dilation)
    high, wide = (dilation * (kernel - 1) for kernel, dilation in steps)
    return wide // 2, wide - wide // 2, high // 2, high - high // 2
