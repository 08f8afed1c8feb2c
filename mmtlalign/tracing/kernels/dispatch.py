"""Choose how attention moves shares: the one place that knows the ways.

=========  ===========================================================================
triton     a kernel that reads queries and keys, or weights, as the network has them:
           :mod:`mmtlalign.tracing.kernels.gpu`, on NVIDIA GPUs
sdpa       a call of its own to PyTorch's attention, everywhere else, and from weights
           at hand their product: :mod:`mmtlalign.tracing.kernels.plain`
=========  ===========================================================================

Where the network's own call can move the share beside its values, ``AttentionHook``
asks for none of these. The environment variable ``MMTLALIGN_SHARE_KERNEL`` is ``auto``
(the default), ``sdpa``, which switches the kernels off, or ``triton``, which makes an
error of what falls back otherwise. All ways are in float32 and without gradient, and
``torch.compile`` takes them as operators that it does not look into.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens with the ``P`` special ones first, ``D``
channels of a head, ``S`` share columns, ``G`` windows of an image, ``T`` tokens of a
window.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmtlalign.compat.torch_2_1 import ONE_GRAPH, is_compiling
from mmtlalign.errors import InputError
from mmtlalign.tracing.kernels import plain

SWITCH = 'MMTLALIGN_SHARE_KERNEL'
WAYS = ('auto', 'triton', 'sdpa')
# Whether Triton's interpreter runs the kernels on a CPU, for tests.
INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'


@functools.cache
def asked_way() -> str:
    """Return what the environment variable asks for; it is read once.

    Raises:
        InputError: It is no way.
    """
    way = os.environ.get(SWITCH) or 'auto'
    if way not in WAYS:
        raise InputError(f'{SWITCH}={way}: choose one of {", ".join(WAYS)}.')
    return way


def propagate(
    query: Tensor,
    key: Tensor,
    share: Tensor,
    scale: float,
    mask: Tensor | None = None,
    before: Tensor | None = None,
    residual: float = 1.0,
) -> Tensor:
    """Move a share by attention: ``A p``, or ``(r before + A p) / (r + 1)``.

    Args:
        query: (B, H, Nq, D) of any floating type.
        key: (B, H, Nk, D) of any floating type.
        share: Share of the keys (B, Nk, S).
        scale: Factor of the logits.
        mask: Added to the logits, broadcast to (B, H, Nq, Nk), or a boolean
            one. Defaults to None.
        before: Share of the queries (B, Nq, S). Defaults to None.
        residual: How much the share before counts, r.

    Returns:
        (B, Nq, S).
    """
    return _run('propagate', query, key, share, scale, mask, before, residual)


def weigh_windows(
    weights: Tensor,
    share: Tensor,
    grid: Sequence[int],
    window: Sequence[int],
    shift: Sequence[int],
    pad_first: bool,
    residual: float = 1.0,
) -> Tensor:
    """Move the share of a map by attention in windows, and average as above.

    Args:
        weights: Softmax output before dropout (B * G, H, T, T).
        share: (B, h * w, S).
        grid, window, shift, pad_first: As of ``propagate.to_windows``.
        residual: How much the share before counts.

    Returns:
        (B, h * w, S).
    """
    return _run(
        'weigh_windows', weights, share, grid, window, shift, pad_first, residual
    )


def class_rows(
    query: Tensor, key: Tensor, count: int, scale: float, mask: Tensor | None = None
) -> Tensor:
    """Compute the attention rows of the leading tokens, averaged over heads.

    Args:
        query, key: (B, H, N, D).
        count: How many tokens, P.
        scale: Factor of the logits.
        mask: As of :func:`propagate`. Defaults to None.

    Returns:
        (B, P, N), before dropout.
    """
    return _run('class_rows', query, key, count, scale, mask)


def received(
    query: Tensor, key: Tensor, rows: Tensor, scale: float, mask: Tensor | None = None
) -> Tensor:
    """Compute the attention that each token receives, the mean over heads.

    Args:
        query, key: (B, H, N, D).
        rows: Weight of each query (1 or B, N), 0 for one that does not count.
        scale: Factor of the logits.
        mask: As of :func:`propagate`. Defaults to None.

    Returns:
        (B, N), before dropout.
    """
    return _run('received', query, key, rows, scale, mask)


def _run(name: str, *arguments: Any) -> Tensor:
    if is_compiling() and ONE_GRAPH:
        with torch.no_grad():
            return getattr(torch.ops.mmtlalign, name)(*arguments)
    return _choose(name, *arguments)


@torch.no_grad()
def _choose(name: str, *arguments: Any) -> Tensor:
    if asked_way() != 'sdpa' and (arguments[0].is_cuda or INTERPRETED):
        # Only here: Triton takes time to import, and may be missing.
        from mmtlalign.tracing.kernels import gpu

        out = gpu.attempt(name, *arguments)
        if out is not None:
            return out
    return getattr(plain, name)(*arguments)


def _define(name: str, fake: Callable, schema: str) -> None:
    """Make an operator, whose body chooses anew whenever a graph runs."""

    def body(*arguments: Any) -> Tensor:
        return _choose(name, *arguments).contiguous()

    operator = torch.library.custom_op(
        f'mmtlalign::{name}', body, mutates_args=(), schema=f'{schema} -> Tensor'
    )
    operator.register_fake(fake)


if ONE_GRAPH:
    _QUERY_KEY = 'Tensor query, Tensor key'
    _LOGITS = 'float scale, Tensor? mask=None'
    _define(
        'propagate',
        lambda query, key, share, *_: share.new_empty(
            query.shape[0], query.shape[2], share.shape[2]
        ),
        f'({_QUERY_KEY}, Tensor share, {_LOGITS}, Tensor? before=None, '
        'float residual=1)',
    )
    _define(
        'weigh_windows',
        lambda weights, share, *_: share.new_empty(share.shape),
        '(Tensor weights, Tensor share, SymInt[] grid, SymInt[] window, '
        'SymInt[] shift, bool pad_first, float residual)',
    )
    _define(
        'class_rows',
        lambda query, key, count, *_: query.new_empty(
            query.shape[0], count, key.shape[2], dtype=torch.float32
        ),
        f'({_QUERY_KEY}, SymInt count, {_LOGITS})',
    )
    _define(
        'received',
        lambda query, key, *_: query.new_empty(
            query.shape[0], key.shape[2], dtype=torch.float32
        ),
        f'({_QUERY_KEY}, Tensor rows, {_LOGITS})',
    )
