"""Columns that ride through the network's own fused attention, in its forward pass.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens, ``D`` channels of a head, ``S`` columns.

The columns stand behind the values, so that the attention is computed once for both.
They have no gradient: the backward pass is that of the narrow attention, for which the
kernel needs inputs, output and the logarithm of each row's sum, and all of these the
wide one leaves. A call of their own would compute products of queries and keys anew.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmtlalign.compat.torch_2_1 import is_compiling

# PyTorch's fused attention on a CPU and its backward pass, where it has them.
_NAME = '_scaled_dot_product_flash_attention_for_cpu'
_FORWARD = getattr(torch.ops.aten, _NAME, None)
_BACKWARD = getattr(torch.ops.aten, f'{_NAME}_backward', None)


def can_carry_share(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout_p: float
) -> bool:
    """Whether a share can be carried: on a CPU, in float32, without mask and dropout.

    In half precision the output, and what rides in it, would be rounded. Graphs that
    are compiled or exported keep the call that they know.
    """
    return (
        _BACKWARD is not None
        and mask is None
        and not dropout_p
        and all(t.device.type == 'cpu' for t in (query, key, value))
        and all(t.dtype == torch.float32 for t in (query, key, value))
        and query.shape[-1] == value.shape[-1]
        and not is_compiling()
        and not torch.jit.is_tracing()
    )


def attend_with_share(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    columns: Tensor,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Fused attention, and what it does to columns beside the values.

    Args:
        query: (B, H, Nq, D).
        key: (B, H, N, D).
        value: (B, H, N, D).
        columns: Of the keys, alike for all heads (B, N, S).
        scale: Of the logits. Defaults to None: ``1 / sqrt(D)``.

    Returns:
        tuple: Output (B, H, Nq, D), and the columns moved by attention, the mean over
        heads, (B, Nq, S), without gradient.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return _AttendWithShare.apply(query, key, value, columns, scale)


class _AttendWithShare(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, columns, scale):
        width = query.shape[-1]
        wide, sums = _FORWARD(
            *widened(query, key, value, columns),
            0.0,
            False,
            attn_mask=None,
            scale=scale,
        )
        moved = wide[..., width : width + columns.shape[-1]].mean(dim=1)
        # As the narrow kernel leaves it: heads of a token side by side.
        out = wide[..., :width].transpose(1, 2).contiguous().transpose(1, 2)
        ctx.save_for_backward(query, key, value, out, sums)
        ctx.scale = scale
        ctx.mark_non_differentiable(moved)
        return out, moved

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, _):
        query, key, value, out, sums = ctx.saved_tensors
        gradients = _BACKWARD(
            gradient, query, key, value, out, sums, 0.0, False,
            attn_mask=None, scale=ctx.scale,
        )  # fmt: skip
        return *gradients, None, None


def widened(query: Tensor, key: Tensor, value: Tensor, columns: Tensor) -> list[Tensor]:
    """All three with room for the columns, to a multiple of eight channels.

    What stands behind queries and keys is 0, so that their products stay as they are.
    """
    heads, width = query.shape[1], query.shape[-1]
    spare = -(-(width + columns.shape[-1]) // 8) * 8 - width
    channels = columns[:, None].expand(-1, heads, -1, -1)
    behind = [query.new_zeros(()).expand(*t.shape[:-1], spare) for t in (query, key)]
    empty = query.new_zeros(()).expand(*channels.shape[:-1], spare - columns.shape[-1])
    return [
        torch.cat([query, behind[0]], dim=-1),
        torch.cat([key, behind[1]], dim=-1),
        torch.cat([value, channels, empty], dim=-1),
    ]
