"""How attention moves shares: pure functions.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens with special tokens first, ``D``
channels of a head, ``S`` share columns. Shares are float32 and never have a
gradient.

Source: TL-Align (ICCV 2023, §3.3): a layer moves labels by its attention,
averaged over heads, then averages the result with the labels before. Because
every step is linear in the labels, moving shares of the two sources and
multiplying by the labels at the end is the same (docs/tracing.md).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def attend(
    query: Tensor,
    key: Tensor,
    share: Tensor,
    scale: float,
    mask: Tensor | None = None,
) -> Tensor:
    """The share moved by attention, through the fused kernel, in float32.

    The share takes the place of the values in a call of its own, without
    gradient: no (N, N) matrix is ever stored, the network's own attention stays
    as it is to the bit, and neither dropout nor half precision reaches the
    share. Where it can, on a CPU in float32, the share rides in the network's own
    call instead (:mod:`mmtlalign.attention.riding`; docs/tracing.md).

    Args:
        query: (B, H, Nq, D) of any floating type.
        key: (B, H, N, D) of any floating type.
        share: Of the keys (B, N, S).
        scale: Factor of the logits.
        mask: Added to the logits, broadcast to (B, H, Nq, N), or a boolean
            one. Defaults to None.

    Returns:
        Moved share (B, Nq, S).
    """
    heads, width, columns = key.shape[1], key.shape[-1], share.shape[-1]
    side = -(-max(width, columns) // 8) * 8
    if mask is not None and mask.is_floating_point():
        mask = mask.float()
    with torch.autocast(query.device.type, enabled=False):
        out = F.scaled_dot_product_attention(
            widen(query.float(), side),
            widen(key.float(), side),
            widen(share, side)[:, None].expand(-1, heads, -1, -1),
            mask,
            scale=scale,
        )
    return out[..., :columns].mean(dim=1)


def widen(tensor: Tensor, width: int) -> Tensor:
    """Zeros behind the last axis (..., D) up to ``width``; no copy where it is so."""
    missing = width - tensor.shape[-1]
    return F.pad(tensor, (0, missing)) if missing else tensor


@torch.no_grad()
def weigh(weights: Tensor, share: Tensor) -> Tensor:
    """The share moved by attention weights that are at hand.

    Args:
        weights: Softmax output before dropout (B, H, Nq, Nk).
        share: Of the keys (B, Nk, S).

    Returns:
        Moved share (B, Nq, S).
    """
    mean = weights.detach().mean(dim=1, dtype=torch.float32)
    if torch.finfo(weights.dtype).bits < 32:
        # Rounded rows do not sum to one, and their product is no share.
        mean = mean / mean.sum(dim=-1, keepdim=True)
    with torch.autocast(weights.device.type, enabled=False):
        return mean @ share


@torch.no_grad()
def prefix_rows(
    query: Tensor,
    key: Tensor,
    prefix: int,
    scale: float,
    mask: Tensor | None = None,
) -> Tensor:
    """Attention rows of the special tokens alone, averaged over heads.

    Args:
        query, key: (B, H, N, D).
        prefix: How many special tokens lead the sequence, P.
        scale: Factor of the logits.
        mask: Added to the logits, broadcast to (B, H, N, N). Defaults to None.

    Returns:
        (B, P, N), float32, before dropout; never a full map.
    """
    with torch.autocast(query.device.type, enabled=False):
        logits = query[:, :, :prefix].float() @ key.float().mT * scale
    if mask is not None:
        logits = logits + mask[..., :prefix, :].float()
    return logits.softmax(dim=-1).mean(dim=1)


def column_means(
    query: Tensor,
    key: Tensor,
    rows: Tensor,
    scale: float,
    mask: Tensor | None = None,
) -> Tensor:
    """How much each token is attended on average over queries and heads.

    Column sums are what the gradient of fused attention with respect to its
    values is, so that here, too, no (N, N) matrix is stored.

    Args:
        query, key: (B, H, N, D).
        rows: Weight of each query (1 or B, N), 0 for one that does not count.
        scale: Factor of the logits.
        mask: As in :func:`attend`.

    Returns:
        (B, N), float32, before dropout.
    """
    side = -(-key.shape[-1] // 8) * 8
    query, key = (widen(t.detach().float(), side) for t in (query, key))
    if mask is not None:
        mask = mask.detach().float() if mask.is_floating_point() else mask.detach()
    with torch.autocast(query.device.type, enabled=False), torch.enable_grad():
        value = torch.zeros_like(key).requires_grad_()
        out = F.scaled_dot_product_attention(query, key, value, mask, scale=scale)
        weights = rows[:, None].expand(*out.shape[:-1])
        (columns,) = torch.autograd.grad((out[..., 0] * weights).sum(), value)
    return columns[..., 0].mean(dim=1)
