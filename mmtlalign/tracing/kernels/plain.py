"""Implementations in PyTorch, for every device; ``dispatch`` chooses when.

No token-by-token matrix is stored for a share, and nothing has a gradient. Shares are
never computed by a float32 matrix product, which PyTorch may be set to round to TF32.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens with the ``P`` special ones first, ``D``
channels of a head, ``S`` share columns, ``G`` windows of an image, ``T`` tokens of a
window.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.tracing.propagate import (
    attention_by_formula,
    average,
    from_windows,
    to_windows,
    weigh,
)

MATH = 0  # torch.nn.attention.SDPBackend.MATH, which PyTorch 2.1 lacks
# Number of queries whose attention is stored at once, if there is no fused kernel.
MOST_ROWS = 128


def propagate(
    query: Tensor,
    key: Tensor,
    share: Tensor,
    scale: float,
    mask: Tensor | None = None,
    before: Tensor | None = None,
    residual: float = 1.0,
) -> Tensor:
    """Move a share by a separate call of fused attention, in place of the values.

    The call is in float32. On a GPU its kernel multiplies in three TF32 parts, exact to
    float32; if PyTorch has no kernel for the call, the formula is computed in float64.
    """
    heads, columns = key.shape[1], share.shape[-1]
    # The fused kernels need the same width for all, a multiple of 8.
    width = -(-max(key.shape[-1], columns) // 8) * 8
    value = _widen(share, width)[:, None].expand(-1, heads, -1, -1)
    call = (_widen(query, width), _widen(key, width), value, _plain_mask(mask))
    with torch.autocast(query.device.type, enabled=False):
        if is_unfused(*call, scale):
            maps = _maps(query, key, scale, mask)
            moved = torch.cat([m @ share.double() for _, m in maps], dim=1).float()
        else:
            moved = F.scaled_dot_product_attention(*call, scale=scale)
            moved = moved[..., :columns].mean(dim=1)
    return moved if before is None else average(before, moved, residual)


def weigh_windows(
    weights: Tensor,
    share: Tensor,
    grid: Sequence[int],
    window: Sequence[int],
    shift: Sequence[int],
    pad_first: bool,
    residual: float = 1.0,
) -> Tensor:
    """Cut a map into windows, move each, merge them again, and average."""
    where = (grid, window, shift, pad_first)
    moved = weigh(weights, to_windows(share, *where))
    return average(share, from_windows(moved, *where, share.shape[-1]), residual)


def class_rows(
    query: Tensor, key: Tensor, count: int, scale: float, mask: Tensor | None = None
) -> Tensor:
    """Compute attention rows as sums of products, or on a CPU by a matrix product."""
    query = query[:, :, :count].float()
    with torch.autocast(query.device.type, enabled=False):
        if query.device.type == 'cpu':
            logits = query @ key.float().mT
        else:
            rows = [(key * row).sum(dim=-1) for row in query.split(1, dim=2)]
            logits = torch.stack(rows, dim=2)
    logits = logits * scale
    if mask is not None:
        mask = mask[..., :count, :]
        if mask.dtype == torch.bool:
            logits = logits.masked_fill(~mask, -torch.inf)
        else:
            logits = logits + mask.float()
    return logits.softmax(dim=-1).mean(dim=1)


def received(
    query: Tensor, key: Tensor, rows: Tensor, scale: float, mask: Tensor | None = None
) -> Tensor:
    """Compute column sums as the gradient of fused attention for its values."""
    width = -(-key.shape[-1] // 8) * 8
    rows = rows.expand(len(query), -1)
    call = (_widen(query.detach(), width), _widen(key.detach(), width))
    wide = _plain_mask(mask)
    with (
        torch.autocast(query.device.type, enabled=False),
        torch.enable_grad(),
        # Gradient checkpointing of a layer around it must not count these tensors.
        torch.autograd.graph.saved_tensors_hooks(_same, _same),
    ):
        value = torch.zeros_like(call[1]).requires_grad_()
        if is_unfused(*call, value, wide, scale) or not has_autograd():
            sums = torch.zeros((), dtype=torch.float64, device=query.device)
            for part, weights in _maps(query.detach(), key.detach(), scale, mask):
                sums = sums + (rows[:, part, None] * weights).sum(dim=1)
            return sums.float()
        out = F.scaled_dot_product_attention(*call, value, wide, scale=scale)
        counted = rows[:, None].expand(*out.shape[:-1])
        (columns,) = torch.autograd.grad((out[..., 0] * counted).sum(), value)
    return columns[..., 0].mean(dim=1)


def is_unfused(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> bool:
    """Return whether PyTorch has no fused kernel for a call on a GPU.

    It would then use cuBLAS, which rounds if TF32 is allowed.
    """
    if not query.is_cuda:
        return False
    return torch._fused_sdp_choice(query, key, value, mask, scale=scale) == MATH


def has_autograd() -> bool:
    """Return whether autograd is active, which it is not inside an operator."""
    return (torch.zeros((), requires_grad=True) + 0).requires_grad


def _widen(tensor: Tensor, width: int) -> Tensor:
    """Return a float32 tensor with the last axis (..., D) zero-padded to ``width``."""
    missing = width - tensor.shape[-1]
    return F.pad(tensor.float(), (0, missing)) if missing else tensor.float()


def _plain_mask(mask: Tensor | None) -> Tensor | None:
    """Return a mask without gradient, in float32 or boolean."""
    if mask is None or mask.dtype == torch.bool:
        return mask
    return mask.detach().float()


def _maps(
    query: Tensor, key: Tensor, scale: float, mask: Tensor | None
) -> Iterator[tuple[slice, Tensor]]:
    """Yield attention (B, MOST_ROWS, Nk) in float64, for some queries at a time."""
    if mask is not None:
        mask = mask.expand(*query.shape[:3], key.shape[2])
    for start in range(0, query.shape[2], MOST_ROWS):
        part = slice(start, start + MOST_ROWS)
        masked = None if mask is None else mask[:, :, part]
        yield part, attention_by_formula(query[:, :, part], key, scale, masked)


def _same(tensor: Tensor) -> Tensor:
    return tensor
