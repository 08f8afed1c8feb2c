"""Calls of the Triton kernels, after a check against the formula.

The first call of a kind compares a small case with the formula in float64. If it fails
or is wrong, the kind is disabled for the process: a warning gives the reason once, and
PyTorch's own attention is used instead.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens, ``D`` channels of a head, ``S`` share
columns, ``G`` windows of an image, ``T`` tokens of a window.
"""

import functools
import warnings
from typing import Any

import torch
from torch import Tensor

from mmtlalign.errors import UnsupportedError
from mmtlalign.tracing.kernels import launch
from mmtlalign.tracing.kernels.blocks import (
    Case,
    Kind,
    describe,
    fewer_rows,
    find_block,
)
from mmtlalign.tracing.kernels.check import largest_error
from mmtlalign.tracing.kernels.dispatch import SWITCH, asked_way
from mmtlalign.tracing.kernels.launch import (
    UnfitError,
    is_interpreted,
    load_kernels,
)
from mmtlalign.tracing.propagate import count_windows

MOST_WIDTH = 128
MOST_COLUMNS = 32
MOST_WINDOW_TOKENS = 1024
OLDEST_GPU = 80  # compute capability, times ten: bfloat16 and TF32
BOUND = 1e-5  # largest error of a share against the formula
DTYPES = torch.bfloat16, torch.float16, torch.float32
MASKS = None, *DTYPES, torch.bool


# Kinds that were checked, and whether they passed.
CHECKED: dict[Kind, bool] = {}


def attempt(name: str, *arguments: Any) -> Tensor | None:
    """Run a kernel, or return None if there is none for the call.

    Args:
        name: Name of a function of ``dispatch``.
        *arguments: Arguments of that function.

    Raises:
        UnsupportedError: There is no kernel, and the environment variable is
            ``triton``.
    """
    first = arguments[0]
    if type(first) is not Tensor or first.dtype == torch.float64:
        return None  # a subclass, such as a fake tensor; or float64, as in a check
    if first.is_cuda and first.device.index != torch.cuda.current_device():
        with torch.cuda.device(first.device):  # where Triton launches
            return attempt(name, *arguments)
    if name == 'weigh_windows':
        kind = window_kind(*arguments)
    else:
        kind = kind_of(name, *arguments)
    if isinstance(kind, str):
        report(kind)
        return None
    usable = CHECKED.get(kind)
    if usable is None:
        if is_capturing(first):
            report(
                f'{name} for {describe(kind)} is called for the first time while a '
                'CUDA graph is captured; run a step before the capture'
            )
            return None
        usable = CHECKED[kind] = passes(kind)
    if not usable:
        return None
    try:
        return getattr(launch, name)(kind.block, *arguments)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:
        CHECKED[kind] = False
        report(f'{kind.name} for {describe(kind)}: {first_line(error)}')
        return None


def is_capturing(tensor: Tensor) -> bool:
    """Return whether a CUDA graph is being captured."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


@functools.cache
def report(problem: str) -> None:
    """Warn once of a problem and of the fallback, or raise it for ``triton``."""
    if asked_way() == 'triton':
        raise UnsupportedError(
            f'The Triton kernel cannot be used: {problem}. Set {SWITCH}=auto to use '
            "PyTorch's attention instead."
        )
    warnings.warn(
        "Label shares are computed by PyTorch's attention instead of a Triton kernel, "
        f'which is as exact. {problem}. Set {SWITCH}=sdpa to choose this '
        'without a warning.',
        RuntimeWarning,
        stacklevel=2,
    )


def first_line(error: BaseException) -> str:
    """Return the type and the first line of an error."""
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[0]}'


def describe_way(device: torch.device) -> str:
    """Return a description of the implementation for a device, after trying it."""
    if asked_way() == 'sdpa':
        return f'sdpa, by {SWITCH}'
    if device.type != 'cuda':
        return 'extra value channels in float32, else sdpa'
    query = torch.zeros(2, 2, 197, 64, dtype=torch.bfloat16, device=device)
    share = torch.zeros(2, 197, 1, device=device)
    report.cache_clear()  # so that the reason is reported again
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        out = attempt('propagate', query, query, share, 0.125)
    if out is not None:
        return f'triton, compute capability {capability_of(device) / 10}'
    return f'sdpa: {caught[-1].message}' if caught else 'sdpa'


# --- what fits ------------------------------------------------------------------


@functools.cache
def capability_of(device: torch.device) -> int:
    """Return ten times the compute capability of a GPU.

    Raises:
        UnfitError: It is too old, not a GPU, or not NVIDIA's.
    """
    load_kernels()
    if device.type != 'cuda':
        if is_interpreted():
            return 90
        raise UnfitError(f'{device} is not a GPU')
    if torch.version.hip:
        raise UnfitError('the kernels support NVIDIA GPUs only')
    major, minor = torch.cuda.get_device_capability(device)
    if 10 * major + minor < OLDEST_GPU:
        name = torch.cuda.get_device_name(device)
        raise UnfitError(f'{name} has compute capability {major}.{minor}, below 8.0')
    return 10 * major + minor


@functools.cache
def processors(device: torch.device) -> int:
    """Return the number of multiprocessors of a GPU."""
    if device.type != 'cuda':
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def kind_of(
    name: str,
    query: Tensor,
    key: Tensor,
    other: Any,
    scale: float,
    mask: Tensor | None = None,
    before: Tensor | None = None,
    *_: Any,
) -> Kind | str:
    """Return the kind of a call with queries and keys, or why it has no kernel."""
    if scale <= 0 or key.dtype != query.dtype:
        return (
            'the scale must be above 0 and queries and keys of one dtype, but the '
            f'scale is {scale}, queries are {query.dtype}, keys {key.dtype}'
        )
    # A kernel would read out of bounds; PyTorch raises a clear error instead.
    batch, _, queries, _ = query.shape
    fits = [key.shape[:2] == query.shape[:2], key.shape[3] == query.shape[3]]
    if name == 'class_rows':
        fits += [other <= queries]
    if name == 'propagate':
        fits += [other.shape[:2] == (batch, key.shape[2]), other.dtype == torch.float32]
    if name == 'received':
        fits += [other.shape[1] == queries, other.dtype == torch.float32]
    if before is not None:
        fits += [before.shape == (batch, queries, other.shape[2])]
    if not all(fits):
        return f'shapes or dtypes of {name} do not match'
    return _kind(
        name,
        query.device,
        query.dtype,
        query.shape[-1],
        other.shape[-1] if name == 'propagate' else 1,
        None if mask is None else mask.dtype,
        key.shape[2],
        (len(query), query.shape[2]),
        name == 'propagate' and launch.is_slim(query, key, other, mask, before),
    )


def window_kind(
    weights: Tensor,
    share: Tensor,
    grid: Any,
    window: Any,
    shift: Any,
    pad_first: bool,
    residual: float = 1.0,
) -> Kind | str:
    """Return the kind of a call with weights, or why it has no kernel."""
    count, tokens = count_windows(grid, window), window[0] * window[1]
    if (
        weights.shape[::2] != (len(share) * count, tokens)
        or weights.shape[3] != tokens
        or share.shape[1] != grid[0] * grid[1]
        or share.dtype != torch.float32
    ):
        return 'shapes or dtypes of weigh_windows do not match'
    return _kind(
        'weigh_windows',
        weights.device,
        weights.dtype,
        weights.shape[-1],
        share.shape[-1],
        windows=(tuple(grid), tuple(window), tuple(shift), pad_first),
    )


@functools.lru_cache(maxsize=4096)
def _kind(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    width: int,
    columns: int,
    mask: torch.dtype | None = None,
    keys: int = 1,
    queries: tuple[int, int] = (1, 1),
    slim: bool = False,
    windows: tuple | None = None,
) -> Kind | str:
    try:
        capability = capability_of(device)
    except UnfitError as error:
        return str(error)
    most = MOST_WINDOW_TOKENS if windows else MOST_WIDTH
    if width > most:
        what = 'windows have {} tokens' if windows else 'heads have {} channels'
        return f'{what.format(width)}, more than {most}'
    if columns > MOST_COLUMNS:
        return f'the share has {columns} columns, more than {MOST_COLUMNS}'
    if dtype not in DTYPES or mask not in MASKS:
        return f'there is no kernel for attention in {dtype} and mask {mask}'
    bits = torch.finfo(dtype).bits
    case = Case(name, bits, width, columns, mask is not None, keys)
    block = find_block(case, capability)
    if block is None:
        return f'share_blocks.json has no tile for {case._replace(keys=1)}'
    if name == 'propagate':
        block = fewer_rows(block, *queries, processors(device))
    rest = launch.tail(keys, block) if name == 'propagate' else 0
    return Kind(name, device, dtype, width, columns, mask, block, rest, slim, windows)


# --- the check at first use -------------------------------------------------------


def passes(kind: Kind) -> bool:
    """Return whether a small case of a kind agrees with the formula in float64."""
    try:
        error = largest_error(kind)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as problem:
        report(f'{kind.name} for {describe(kind)}: {first_line(problem)}')
        return False
    if error < BOUND:
        return True
    report(f'{kind.name} for {describe(kind)}: off by {error:.1e} from the formula')
    return False
