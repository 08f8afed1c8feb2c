"""Attention by a fused or an explicit kernel, whichever was measured to be faster.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens, ``D`` channels of a head, ``G`` windows
of an image.

The fused kernel does not store the N x N attention map. The explicit one computes step
by step and stores the map for the backward pass; with few tokens, and in bfloat16 on a
CPU, that is faster. The choice follows ``kernel_times.json``, which
``tools/benchmarks/measure_kernels.py`` writes.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.errors import InputError

TIMES = Path(__file__).with_name('kernel_times.json')
KERNELS = ('auto', 'fused', 'explicit')
# For more tokens the map is never stored, because of its memory.
MOST_TOKENS = 1024
# The explicit kernel is chosen below this share of the fused kernel's time.
WORTH_A_MAP = 0.95


class AttentionKernel:
    """PyTorch's ``scaled_dot_product_attention`` with a choice of the kernel.

    Args:
        kernel: ``'fused'``, ``'explicit'``, or ``'auto'``: the faster one.

    Raises:
        InputError: There is no such kernel.
    """

    def __init__(self, kernel: str = 'auto'):
        self.kernel = check_kernel(kernel)

    def stores_weights(self, query: Tensor, key: Tensor, mask: Tensor | None) -> bool:
        """Tell whether this call is computed step by step, so that weights exist."""
        if mask is not None or self.kernel == 'fused':
            return False
        return self.kernel == 'explicit' or choose_kernel(query, key) == 'explicit'

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        on_weights: Callable[[Tensor], object] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Compute attention.

        Args:
            query, key, value: (B, H, N, D).
            attn_mask, dropout_p, is_causal, scale, **kwargs: See
                ``F.scaled_dot_product_attention``.
            on_weights: Called with the weights (B, H, N, N) before dropout, if the
                explicit kernel computes them. Defaults to None.
        """
        if is_causal or kwargs or not self.stores_weights(query, key, attn_mask):
            return F.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask,
                dropout_p=dropout_p,
                is_causal=is_causal,
                scale=scale,
                **kwargs,
            )

        def softmax(logits: Tensor, dim: int) -> Tensor:
            weights = logits.softmax(dim=dim)
            if on_weights is not None:
                on_weights(weights)
            return weights

        return explicit_attention(
            query, key, value, scale=scale, dropout_p=dropout_p, softmax=softmax
        )


def check_kernel(kernel: str) -> str:
    """Return the name of a kernel.

    Raises:
        InputError: There is no such kernel.
    """
    if kernel not in KERNELS:
        raise InputError(f'kernel={kernel!r}: choose one of {KERNELS}.')
    return kernel


def explicit_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    scale: float | None = None,
    dropout_p: float = 0.0,
    softmax: Callable[..., Tensor] = F.softmax,
) -> Tensor:
    """Compute ``softmax(scale query keyᵀ + bias) value`` step by step.

    Args:
        query: (B, H, Nq, D).
        key, value: (B, H, N, D).
        bias: Added to the logits: (H, Nq, N) for all, or (G, H, Nq, N) where the batch
            is B / G images of G windows each. Defaults to None.
        scale: Factor of the logits. Defaults to None: ``1 / sqrt(D)``.
        dropout_p: Dropout of the weights. Defaults to 0.
        softmax: Called with the logits and ``dim=-1``. Defaults to PyTorch's.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    logits = (query * scale) @ key.mT
    if bias is not None:
        # (B / G, G, H, Nq, N), so that each window gets its own bias.
        shape = logits.shape
        logits = logits.view(-1, *bias.shape) if bias.ndim == 4 else logits
        logits = (logits + bias).view(shape)
    weights = softmax(logits, dim=-1)
    if dropout_p:
        weights = F.dropout(weights, dropout_p)
    return weights @ value


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    scale: float | None = None,
    dropout_p: float = 0.0,
) -> Tensor:
    """Compute the same as :func:`explicit_attention` by PyTorch's fused kernel.

    The arguments are the same.
    """
    if bias is None or bias.ndim == 3:
        return F.scaled_dot_product_attention(
            query, key, value, bias, dropout_p=dropout_p, scale=scale
        )
    # The windows of an image become heads, so that all images share one bias without
    # a copy of it.
    groups = len(bias)
    out = F.scaled_dot_product_attention(
        *(t.unflatten(0, (-1, groups)).flatten(1, 2) for t in (query, key, value)),
        bias.flatten(0, 1),
        dropout_p=dropout_p,
        scale=scale,
    )
    return out.unflatten(1, (groups, -1)).flatten(0, 1)


def choose_kernel(query: Tensor, key: Tensor, bias: Tensor | None = None) -> str:
    """Return ``'fused'`` or ``'explicit'``: the faster one in the nearest known case.

    Explicit attention stores its map, so it has to save more than 5 % of the time. The
    fused kernel is taken for more than 1,024 tokens, whose map would be large, and for
    dtypes without a measurement. On a type of device without any measurement, attention
    with a bias, as in windows, stays explicit as in mmpretrain.

    Args:
        query: (B, H, Nq, D).
        key: (B, H, N, D).
        bias: Added to the logits, if there is one. Defaults to None.
    """
    tokens = max(query.shape[-2], key.shape[-2])
    if tokens > MOST_TOKENS:
        return 'fused'
    cases = MEASURED.get((query.device.type, query.dtype, bias is not None))
    if cases is None:
        # With a learnt bias the fused kernel, too, stores a map: the bias's gradient.
        new = all(device != query.device.type for device, *_ in MEASURED)
        return 'explicit' if new and bias is not None else 'fused'
    nearest = min(cases, key=lambda n: abs(math.log(n / tokens)))
    return 'explicit' if cases[nearest] < WORTH_A_MAP else 'fused'


def read_times(path: Path) -> dict[tuple[str, torch.dtype, bool], dict[int, float]]:
    """Read the ratio of explicit to fused time, by (device, dtype, bias) and tokens."""
    found: dict[tuple[str, torch.dtype, bool], dict[int, float]] = {}
    for row in json.loads(path.read_text(encoding='utf-8'))['cases']:
        case = row['device'], getattr(torch, row['dtype']), row['bias']
        found.setdefault(case, {})[row['tokens']] = row['explicit_over_fused']
    return found


# Read once at import, so that these are constants in a compiled model.
MEASURED = read_times(TIMES)
