"""Choice of the implementation that moves shares by attention.

=========  ===========================================================================
triton     a kernel that reads the network's queries and keys, or weights, directly:
           :mod:`mmtlalign.tracing.kernels.gpu`, on NVIDIA GPUs
sdpa       a separate call of PyTorch's attention, or the product with given weights,
           everywhere else: :mod:`mmtlalign.tracing.kernels.plain`
=========  ===========================================================================

If the network's own call can move the share with its values, ``AttentionHook`` uses
none of these. The environment variable ``MMTLALIGN_SHARE_KERNEL`` is ``auto`` (the
default), ``sdpa``, which disables the kernels, or ``triton``, which raises an error
where ``auto`` falls back. All implementations are in float32 and without gradient, and
opaque operators for ``torch.compile``.

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
    """Return the value of the environment variable, which is read once.

    Raises:
        InputError: The value is invalid.
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
        mask: Broadcast to (B, H, Nq, Nk): a float mask is added to the logits, a
            boolean one is True where a query may attend. Defaults to None.
        before: Share of the queries before (B, Nq, S). Defaults to None.
        residual: Weight r of the share before.

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
    """Move the share of a map by window attention, and average with the share before.

    Args:
        weights: Softmax output before dropout (B * G, H, T, T).
        share: (B, h * w, S).
        grid: ``(h, w)``.
        window: Height and width of a window in tokens.
        shift: Effective shift of this forward pass, rows and columns.
        pad_first: Whether a map that does not fill its windows is padded and then
            shifted, or shifted and then padded.
        residual: Weight r of the share before.

    Returns:
        (B, h * w, S).
    """
    return _run(
        'weigh_windows', weights, share, grid, window, shift, pad_first, residual
    )


def class_rows(
    query: Tensor, key: Tensor, count: int, scale: float, mask: Tensor | None = None
) -> Tensor:
    """Compute the attention rows of the first tokens, averaged over heads.

    Args:
        query, key: (B, H, N, D).
        count: Number P of tokens.
        scale: Factor of the logits.
        mask: Broadcast to (B, H, N, N): a float mask is added to the logits, a boolean
            one is True where a query may attend. Defaults to None.

    Returns:
        (B, P, N), before dropout.
    """
    return _run('class_rows', query, key, count, scale, mask)


def received(
    query: Tensor, key: Tensor, rows: Tensor, scale: float, mask: Tensor | None = None
) -> Tensor:
    """Compute the attention that each token receives, averaged over heads.

    Args:
        query, key: (B, H, N, D).
        rows: Weight of each query (1 or B, N), 0 for queries that are left out.
        scale: Factor of the logits.
        mask: Broadcast to (B, H, N, N): a float mask is added to the logits, a boolean
            one is True where a query may attend. Defaults to None.

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
        # Imported here, as Triton takes time to import and may be missing.
        from mmtlalign.tracing.kernels import gpu

        out = gpu.attempt(name, *arguments)
        if out is not None:
            return out
    return getattr(plain, name)(*arguments)


def _define(name: str, fake: Callable, schema: str, captured: bool = True) -> None:
    """Define an operator whose body chooses the implementation on every call.

    Args:
        name: A function of this module.
        fake: Returns an empty result for the arguments.
        schema: Arguments of the operator.
        captured: Whether CUDA graphs of ``torch.compile`` may hold it. Not one that
            keeps a tensor for later calls, which would lie in the memory of the graph.
    """

    def body(*arguments: Any) -> Tensor:
        return _choose(name, *arguments).contiguous()

    options = {}
    if not captured and hasattr(torch.Tag, 'cudagraph_unsafe'):
        options['tags'] = (torch.Tag.cudagraph_unsafe,)
    operator = torch.library.custom_op(
        f'mmtlalign::{name}',
        body,
        mutates_args=(),
        schema=f'{schema} -> Tensor',
        **options,
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
        captured=False,  # `launch.places_on` keeps the places of the windows
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
