"""One attention, two ways to compute it: fused, or step by step.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens, ``D`` channels of a head, ``G`` windows
of an image.

The fused kernel stores no map of N x N tokens. Step by step the map is stored for the
backward pass, and its weights are at hand; with few tokens, and in bfloat16 on a CPU,
that is faster. Which one is used is measured, not guessed: ``kernel_times.json``, which
``tools/benchmarks/measure_kernels.py`` writes.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.errors import InputError

TIMES = Path(__file__).with_name('kernel_times.json')
KERNELS = ('auto', 'fused', 'explicit')
# A map of more tokens is never stored, however fast that would be.
MOST_TOKENS = 1024
# A map is stored where that takes less than so much of the fused kernel's time.
WORTH_A_MAP = 0.95


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    scale: float | None = None,
    dropout_p: float = 0.0,
    kernel: str = 'auto',
    seen: Callable[[Tensor], object] | None = None,
) -> Tensor:
    """``softmax(scale query keyᵀ + bias) value``, by the kernel for the case.

    Args:
        query: (B, H, Nq, D).
        key: (B, H, N, D).
        value: (B, H, N, D).
        bias: Added to the logits: (H, Nq, N) for all, or (G, H, Nq, N) where the batch
            is B / G images of G windows each. Defaults to None.
        scale: Of the logits. Defaults to None: ``1 / sqrt(D)``.
        dropout_p: Of the weights. Defaults to 0.
        kernel: ``'fused'``, ``'explicit'``, or ``'auto'``: what is faster.
        seen: Called with the weights (B, H, Nq, N), before dropout, where they are at
            hand. Defaults to None.

    Returns:
        Tensor: (B, H, Nq, D).
    """
    if kernel == 'auto':
        kernel = choose_kernel(query, key, bias)
    if kernel == 'explicit':
        return _explicit(query, key, value, bias, scale, dropout_p, seen)
    if kernel == 'fused':
        return _fused(query, key, value, bias, scale, dropout_p)
    raise InputError(f'kernel={kernel!r}: choose one of {KERNELS}.')


def _explicit(query, key, value, bias, scale, dropout_p, seen) -> Tensor:
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    logits = (query * scale) @ key.mT
    if bias is not None:
        # Windows of an image side by side, as their biases are.
        shape = logits.shape
        logits = logits.view(-1, *bias.shape) if bias.ndim == 4 else logits
        logits = (logits + bias).view(shape)
    weights = logits.softmax(dim=-1)
    if seen is not None:
        seen(weights)
    if dropout_p:
        weights = F.dropout(weights, dropout_p)
    return weights @ value


def _fused(query, key, value, bias, scale, dropout_p) -> Tensor:
    if bias is None or bias.ndim == 3:
        return F.scaled_dot_product_attention(
            query, key, value, bias, dropout_p=dropout_p, scale=scale
        )
    # Windows of an image become heads of it: one bias for all images, no copy of it.
    groups = len(bias)
    out = F.scaled_dot_product_attention(
        *(t.unflatten(0, (-1, groups)).flatten(1, 2) for t in (query, key, value)),
        bias.flatten(0, 1),
        dropout_p=dropout_p,
        scale=scale,
    )
    return out.unflatten(1, (groups, -1)).flatten(0, 1)


def choose_kernel(query: Tensor, key: Tensor, bias: Tensor | None = None) -> str:
    """``'fused'`` or ``'explicit'``: what was faster in the nearest case measured.

    Explicit attention stores its map, which less than 5 % of time is not worth. A
    device or a type that nobody has measured gets the fused kernel, and so do more than
    1,024 tokens, whose map would be large.

    Args:
        query: (B, H, Nq, D).
        key: (B, H, N, D).
        bias: As of :func:`attend`.
    """
    tokens = max(query.shape[-2], key.shape[-2])
    if tokens > MOST_TOKENS:
        return 'fused'
    cases = MEASURED.get((query.device.type, query.dtype, bias is not None))
    if cases is None:
        return 'fused'
    nearest = min(cases, key=lambda n: abs(math.log(n / tokens)))
    return 'explicit' if cases[nearest] < WORTH_A_MAP else 'fused'


def read_times(path: Path) -> dict[tuple[str, torch.dtype, bool], dict[int, float]]:
    """Time of explicit over fused, by (device, type, bias or not) and tokens."""
    found = {}
    for row in json.loads(path.read_text(encoding='utf-8'))['cases']:
        case = row['device'], getattr(torch, row['dtype']), row['bias']
        found.setdefault(case, {})[row['tokens']] = row['explicit_over_fused']
    return found


# Read once, so that a model that is compiled finds constants.
MEASURED = read_times(TIMES)
