"""Rows and columns of an attention map (B, H, N, N), without the map.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens with the ``P`` special ones first, ``D``
channels of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.tracing import propagate


@torch.no_grad()
def prefix_rows(
    query: Tensor,
    key: Tensor,
    prefix: int,
    scale: float,
    mask: Tensor | None = None,
) -> Tensor:
    """Compute the attention rows of the special tokens alone, averaged over heads.

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
    """Compute the attention that each token receives, averaged over queries and heads.

    Column sums are what the gradient of fused attention with respect to its
    values is, so that here, too, no (N, N) matrix is stored.

    Args:
        query, key: (B, H, N, D).
        rows: Weight of each query (1 or B, N), 0 for one that does not count.
        scale: Factor of the logits.
        mask: Added to the logits, broadcast to (B, H, N, N), or boolean. Defaults to
            None.

    Returns:
        (B, N), float32, before dropout.
    """
    side = -(-key.shape[-1] // 8) * 8
    query, key = (propagate.widen(t.detach().float(), side) for t in (query, key))
    if mask is not None:
        mask = mask.detach().float() if mask.is_floating_point() else mask.detach()
    with torch.autocast(query.device.type, enabled=False), torch.enable_grad():
        value = torch.zeros_like(key).requires_grad_()
        out = F.scaled_dot_product_attention(query, key, value, mask, scale=scale)
        weights = rows[:, None].expand(*out.shape[:-1])
        (columns,) = torch.autograd.grad((out[..., 0] * weights).sum(), value)
    return columns[..., 0].mean(dim=1)
