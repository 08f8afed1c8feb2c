"""Shares as extra value channels of the network's own fused attention.

The share is appended to the values, so that attention is computed once for both. It has
no gradient: the backward pass is that of attention without it. Its kernel needs inputs,
output and the logarithm of each row's sum, all of which the wider call returns. A
separate call would compute the products of queries and keys again.

In half precision the share would be rounded with the output, so the call is in float32.
So is its backward pass, as PyTorch's kernel for half precision is slower. What is kept
for the backward pass has the original type.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens, ``D`` channels of a head, ``S`` share
columns.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmtlalign.compat.torch_2_1 import is_exporting

# PyTorch's fused attention on a CPU and its backward pass, if they exist.
_NAME = '_scaled_dot_product_flash_attention_for_cpu'
_FORWARD: Any = getattr(torch.ops.aten, _NAME, None)
_BACKWARD: Any = getattr(torch.ops.aten, f'{_NAME}_backward', None)


def can_carry_share(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout_p: float
) -> bool:
    """Return whether a call of attention can carry a share.

    It can on a CPU, in float32 or half precision, without mask and dropout. Graphs that
    are exported, or traced by ``torch.jit``, keep the original call; so do compiled
    graphs before PyTorch 2.5.
    """
    return (
        _BACKWARD is not None
        and mask is None
        and not dropout_p
        and all(t.device.type == 'cpu' for t in (query, key, value))
        and query.dtype == key.dtype == value.dtype
        and query.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and query.shape[-1] == value.shape[-1]
        and not is_exporting()
        and not torch.jit.is_tracing()
    )


def attend_with_share(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    share: Tensor,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute fused attention, and move a share with the values.

    Args:
        query: (B, H, Nq, D).
        key: (B, H, N, D).
        value: (B, H, N, D).
        share: Share of the keys, the same for all heads (B, N, S).
        scale: Factor of the logits. Defaults to None: ``1 / sqrt(D)``.

    Returns:
        Output (B, H, Nq, D) in the type of the query, and the share moved by attention
        (B, Nq, S), float32, averaged over heads, without gradient.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return _AttendWithShare.apply(query, key, value, share, scale)


class _AttendWithShare(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, share: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        width = query.shape[-1]
        wide, sums = _FORWARD(
            *widened(query, key, value, share),
            0.0,
            False,
            attn_mask=None,
            scale=scale,
        )
        moved = wide[..., width : width + share.shape[-1]].mean(dim=1)
        # The memory layout of the original kernel: the heads of a token are adjacent.
        out = (
            wide[..., :width]
            .transpose(1, 2)
            .to(query.dtype, copy=True, memory_format=torch.contiguous_format)
        )
        out = out.transpose(1, 2)
        # In the order of the original function, as gradient checkpointing may recompute
        # a layer by that one, and compares what both save.
        ctx.save_for_backward(key, query, value, sums, out)
        ctx.scale = scale
        ctx.mark_non_differentiable(moved)
        return out, moved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Any) -> tuple:
        key, query, value, sums, out = ctx.saved_tensors
        wide = (t.float() for t in (gradient, query, key, value, out))
        gradients = _BACKWARD(*wide, sums, 0.0, False, attn_mask=None, scale=ctx.scale)
        return *(g.to(query.dtype) for g in gradients), None, None


def widened(query: Tensor, key: Tensor, value: Tensor, share: Tensor) -> list[Tensor]:
    """Append the share to the values, and pad all to a multiple of eight channels.

    Queries and keys are padded with 0, so that their products do not change. All
    become float32, as the share is.
    """
    heads, width = query.shape[1], query.shape[-1]
    spare = -(-(width + share.shape[-1]) // 8) * 8 - width
    channels = share[:, None].expand(-1, heads, -1, -1)
    behind = [share.new_zeros(()).expand(*t.shape[:-1], spare) for t in (query, key)]
    empty = share.new_zeros(()).expand(*channels.shape[:-1], spare - share.shape[-1])
    return [
        torch.cat([query, behind[0]], dim=-1),
        torch.cat([key, behind[1]], dim=-1),
        torch.cat([value, channels, empty], dim=-1),
    ]
