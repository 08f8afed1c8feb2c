"""Launch of the Triton kernels, with sizes, strides and constants of a call.

Functions with a namesake in ``dispatch`` take a tile and the arguments of that one.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens, ``D`` channels of a head, ``S`` share
columns.
"""

import functools
import importlib
from typing import Any

import torch
from torch import Tensor

from mmtlalign.tracing.kernels.blocks import Block
from mmtlalign.tracing.propagate import window_places

LOG2E = 1.4426950408889634
WINDOW_TILE = 4096  # elements in the tile of a window's weights


class UnfitError(Exception):
    """There is no kernel for a call, for the reason in the message."""


@functools.cache
def load_kernels() -> Any:
    """Import the kernels.

    Raises:
        UnfitError: Triton is missing, or too old.
    """
    try:
        kernels = importlib.import_module('mmtlalign.tracing.kernels.triton_kernels')
    except Exception as error:
        raise UnfitError(f'Triton cannot be imported: {error!r}') from None
    version = tuple(map(int, kernels.triton.__version__.split('.')[:2]))
    if version < (3, 2):
        raise UnfitError(f'Triton {kernels.triton.__version__} is older than 3.2')
    return kernels


@functools.cache
def is_interpreted() -> bool:
    """Return whether Triton's interpreter runs the kernels, for tests on a CPU."""
    return 'Interpreted' in type(load_kernels().propagate_kernel).__name__


@functools.cache
def chunks(width: int, bits: int) -> tuple[int, int]:
    """Return the one or two powers of two in which D channels are loaded.

    Two blocks need less padding; in float32 only 64 channels fit into the registers.
    """
    whole = max(16, 1 << (width - 1).bit_length())
    low = whole // 2
    if low < 16 or width <= low:
        return whole, 0
    rest = max(16, 1 << (width - low - 1).bit_length())
    if low + rest < whole or (bits == 32 and whole > 64):
        return low, rest
    return whole, 0


def room(columns: int) -> int:
    """Return the padded number of S columns: 1, or a size that ``tl.dot`` supports."""
    return 1 if columns == 1 else max(16, 1 << (columns - 1).bit_length())


def tail(keys: int, block: Block) -> int:
    """Return the padded number of keys after the last whole tile, or 0 for none."""
    rest = keys % block.columns
    return max(16, 1 << (rest - 1).bit_length()) if rest else 0


def is_slim(
    query: Tensor,
    key: Tensor,
    share: Tensor,
    mask: Tensor | None = None,
    before: Tensor | None = None,
) -> bool:
    """Return whether the kernel for one column and contiguous channels fits."""
    return (
        share.shape[2] == 1
        and mask is None
        and query.stride(3) == key.stride(3) == 1
        and share.stride(0) == key.shape[2]
        and share.stride(1) == 1
        and (before is None or before.stride(1) == 1)
    )


def constants(query: Tensor, block: Block, scale: float) -> dict[str, Any]:
    """Return the compile-time constants of all kernels with queries and keys."""
    width = query.shape[-1]
    low, high = chunks(width, torch.finfo(query.dtype).bits)
    return dict(
        SCALE2=scale * LOG2E,
        D=width,
        D0=low,
        D1=high,
        PRECISION='tf32x3',
        WIDEN=is_interpreted(),
        BM=block.rows,
        BN=block.columns,
        num_warps=block.warps,
        num_stages=block.stages,
    )


def masking(mask: Tensor | None, query: Tensor, key: Tensor) -> tuple:
    """Return a mask, its strides (0 where it is broadcast), and its kind."""
    if mask is None:
        return None, (0, 0, 0, 0), 'none'
    mask = mask.detach().expand(*query.shape[:3], key.shape[2])
    if mask.dtype == torch.bool:
        return mask.view(torch.uint8), mask.stride(), 'kept'
    return mask, mask.stride(), 'added'


def _empty(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device=like.device)


def propagate(
    block: Block,
    query: Tensor,
    key: Tensor,
    share: Tensor,
    scale: float,
    mask: Tensor | None = None,
    before: Tensor | None = None,
    residual: float = 1.0,
) -> Tensor:
    """Launch the kernel of ``dispatch.propagate``."""
    kernels = load_kernels()
    batch, heads, queries, _ = query.shape
    keys, columns = key.shape[2], share.shape[2]
    out = _empty(query, batch, queries, columns)
    options = constants(query, block, scale)
    options.update(RESIDUAL=float(residual), TN=tail(keys, block))
    grid = (batch * -(-queries // block.rows),)
    steps, others = query.stride(), key.stride()
    if is_slim(query, key, share, mask, before):
        kernels.propagate_column_kernel[grid](
            query, key, share, before, out, *steps[:3], *others[:3],
            0 if before is None else before.stride(0), heads, queries, keys, **options,
        )  # fmt: skip
        return out
    mask, mask_steps, kind = masking(mask, query, key)
    kernels.propagate_kernel[grid](
        query, key, share, before, out, mask, *steps, *others, *share.stride(),
        *((0, 0, 0) if before is None else before.stride()), *mask_steps,
        heads, queries, keys, S=columns, SP=room(columns), MASKING=kind, **options,
    )  # fmt: skip
    return out


def log_sums(
    block: Block, query: Tensor, key: Tensor, call: tuple, options: dict
) -> Tensor:
    """Return the base-2 logarithms of the softmax row sums (B, H, Nq)."""
    batch, heads, queries, _ = query.shape
    sums = _empty(query, batch, heads, queries)
    mask, steps, kind = call
    grid = (batch * heads * -(-queries // block.rows),)
    load_kernels().log_sums_kernel[grid](
        query, key, sums, mask, *query.stride(), *key.stride(), *steps,
        heads, queries, key.shape[2], MASKING=kind, **options,
    )  # fmt: skip
    return sums


def class_rows(
    block: Block,
    query: Tensor,
    key: Tensor,
    count: int,
    scale: float,
    mask: Tensor | None = None,
) -> Tensor:
    """Launch the kernels of ``dispatch.class_rows``."""
    call = masking(mask, query, key)
    query = query[:, :, :count]
    batch, heads, _, _ = query.shape
    keys = key.shape[2]
    block = block._replace(rows=max(16, 1 << (count - 1).bit_length()))
    options = constants(query, block, scale)
    sums = log_sums(block, query, key, call, options)
    out = _empty(query, batch, count, keys)
    mask, steps, kind = call
    load_kernels().class_rows_kernel[(batch * -(-keys // block.columns),)](
        query, key, sums, out, mask, *query.stride(), *key.stride(), *steps,
        heads, count, keys, MASKING=kind, **options,
    )  # fmt: skip
    return out


def received(
    block: Block,
    query: Tensor,
    key: Tensor,
    rows: Tensor,
    scale: float,
    mask: Tensor | None = None,
) -> Tensor:
    """Launch the kernels of ``dispatch.received``."""
    call = masking(mask, query, key)
    batch, heads, queries, _ = query.shape
    keys = key.shape[2]
    options = constants(query, block, scale)
    sums = log_sums(block, query, key, call, options)
    rows = rows.expand(batch, -1)
    out = _empty(query, batch, keys)
    mask, steps, kind = call
    load_kernels().received_kernel[(batch * -(-keys // block.columns),)](
        query, key, sums, rows, out, mask, *query.stride(), *key.stride(),
        *rows.stride(), *steps, heads, queries, keys, MASKING=kind, **options,
    )  # fmt: skip
    return out


@functools.lru_cache(maxsize=256)
def places_on(device: torch.device, *windows: Any) -> Tensor:
    """Return ``window_places`` on a device, cached for the next call."""
    return window_places(*windows).to(device)


def weigh_windows(
    block: Block,
    weights: Tensor,
    share: Tensor,
    grid: Any,
    window: Any,
    shift: Any,
    pad_first: bool,
    residual: float = 1.0,
) -> Tensor:
    """Launch the kernel of ``dispatch.weigh_windows``."""
    where = (tuple(grid), tuple(window), tuple(shift), pad_first)
    places = places_on(weights.device, *where)
    groups, tokens = places.shape
    share = share.contiguous()
    out = torch.empty_like(share)
    room_of = 1 << (tokens - 1).bit_length()
    rows = min(room_of, max(1, WINDOW_TILE // room_of))
    load_kernels().weigh_windows_kernel[(len(weights) * -(-tokens // rows),)](
        weights, share, places, out, *weights.stride(), weights.shape[1], groups,
        tokens, share.shape[1], float(residual), S=share.shape[2], BM=rows, BT=room_of,
        num_warps=block.warps, num_stages=block.stages,
    )  # fmt: skip
    return out
