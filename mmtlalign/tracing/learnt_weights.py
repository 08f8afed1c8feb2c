"""How shares move through layers that mix tokens with learnt weights: pure functions.

TL-Align measures the contribution of token ``j`` to token ``i`` by ``|w_ij| / sum_k
|w_ik|`` (ICCV 2023, §3.1) and leaves MLP-like models unexplored. These rules apply that
measure to them; they are ours and not from a paper (docs/tracing.md). All functions run
without gradient, in float32 and never in TF32.

Shapes: ``B`` batch, ``N`` tokens, ``M`` tokens after a layer, ``J`` hidden tokens of a
token MLP, ``C`` channels, ``S`` share columns, ``h, w`` token rows and columns.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.errors import InputError
from mmtlalign.tracing.propagate import Padding, Pair, multiply

# How the gates of a token MLP enter.
RULES = ('mean_gates', 'no_gates', 'exact')
# Rows of the token-by-token matrix that are in memory at once.
_ROWS = 64
# Replaces an input of 0 where an activation is divided by its input.
_NEAR_ZERO = 1e-6


def checked_learnt_weights(learnt_weights: str) -> str:
    """Return the rule for learnt weights.

    Raises:
        InputError: There is no such rule.
    """
    if learnt_weights not in RULES:
        raise InputError(
            f'learnt_weights={learnt_weights!r}: choose one of {", ".join(RULES)}.'
        )
    return learnt_weights


@torch.no_grad()
def gates_of(activation: Callable[[Tensor], Tensor], before: Tensor) -> Tensor:
    """Return the factor ``f(a) / a`` that an activation multiplies its input with.

    Args:
        activation: GELU, ReLU, SiLU or another with ``f(0) = 0``.
        before: Its input ``a``, of any shape.

    Returns:
        The factors, float32, in the shape of ``a``.
    """
    before = before.detach().float()
    before = before.where(before != 0, _NEAR_ZERO)
    return activation(before.clone()) / before


@torch.no_grad()
def move_by_layers(
    share: Tensor,
    last: Tensor,
    first: Tensor | None = None,
    gates: Tensor | None = None,
) -> Tensor:
    """Move a share by one or two linear layers over the tokens of each channel.

    The matrix is ``|last|``, or ``|last diag(gates) first|``, with rows divided by
    their sums; with gates per channel it is the mean of the channels' matrices. Where
    a row is zero and M = N, the token keeps its share. Only some rows are in memory at
    a time.

    Args:
        share: (B, N, S).
        last: Weights (M, J) of the layer, or of the second of two.
        first: Weights (J, N) of the first of two layers. Defaults to None: there is
            only one.
        gates: Gates between the two layers, (B, J) or (B, C, J). Defaults to None: only
            the weights are used.

    Returns:
        (B, M, S).
    """
    channels = (
        [None] if gates is None else gates.unbind(1) if gates.ndim == 3 else [gates]
    )
    moved: Tensor | float = 0.0
    for gate in channels:
        blocks = _matrix_blocks(last, first, gate, share)
        moved = moved + torch.cat([multiply(block, share) for block in blocks], dim=1)
    return moved / len(channels)


def _matrix_blocks(
    last: Tensor, first: Tensor | None, gate: Tensor | None, share: Tensor
) -> Iterator[Tensor]:
    """Yield the matrix in blocks of rows (1 or B, rows, N)."""
    for start in range(0, len(last), _ROWS):
        rows = last[start : start + _ROWS].detach().float()[None]
        if gate is not None:
            rows = rows * gate[:, None]
        if first is not None:
            rows = _product(rows, first.detach())
        rows = rows.abs()
        total = rows.sum(dim=-1, keepdim=True)
        if len(last) == share.shape[1]:
            stay = torch.arange(start, start + rows.shape[1], device=rows.device)
            stay = F.one_hot(stay, share.shape[1]).to(rows)
            rows = rows.where(total > 0, stay)
        yield rows / total.where(total > 0, 1)


@torch.no_grad()
def move_by_kernel(
    share: Tensor, grid: Pair, weight: Tensor, padding: Padding, dilation: Pair = (1, 1)
) -> Tensor:
    """Move a share by a depth-wise convolution of stride 1 that keeps the size.

    ``M p`` is the mean over channels of ``(|K| * p) / (|K| * 1)``: padding outside the
    map does not count. Where a channel's weights are zero, a token keeps its share.

    Args:
        share: (B, h * w, S).
        grid: ``(h, w)``.
        weight: Kernels (C, 1, rows, columns).
        padding: Left, right, top, bottom.
        dilation: Steps between the taps of a kernel. Defaults to (1, 1).

    Returns:
        (B, h * w, S).
    """
    taps = weight.detach().flatten(1).abs()
    size = tuple(weight.shape[-2:])
    maps = share.mT.flatten(0, 1).unflatten(1, (1, *grid))
    under = F.unfold(F.pad(maps, padding), size, dilation)
    real = F.unfold(F.pad(maps.new_ones(1, 1, *grid), padding), size, dilation)[0]
    # Sum of each channel's taps that lie inside the map, at each position (C, N).
    total = _product(taps, real)
    empty = total == 0
    shares = _product((1 / total.where(~empty, 1)).mT, taps).mT / len(taps) * real
    kept = empty.float().mean(dim=0) * maps.flatten(1)
    moved = (shares * under).sum(dim=1) + kept
    return moved.unflatten(0, (-1, share.shape[-1])).mT


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply matrices in float64, if the device has it, and return float32."""
    with torch.autocast(left.device.type, enabled=False):
        if left.device.type == 'mps':
            return left.float() @ right.float()
        return (left.double() @ right.double()).float()
