"""How shares move through a network: pure functions, without gradient, in float32.

They are the reference implementation; faster ones with the same results, and the choice
among them, are in :mod:`mmtlalign.tracing.kernels`.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens with the ``P`` special ones first, ``D``
channels of a head, ``S`` share columns, ``h, w`` token rows and columns.

Source: TL-Align (ICCV 2023, §3.3). A layer moves labels by its attention, averaged over
heads, then averages the result with the labels before; merged tokens have the mean of
their labels. Every step is linear in the labels, so that moving the share of one source
and multiplying by the labels at the end is the same (docs/tracing.md).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]  # rows and columns
Padding = tuple[int, int, int, int]  # left, right, top, bottom
NO_PADDING: Padding = (0, 0, 0, 0)


@torch.no_grad()
def attention_by_formula(
    query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
) -> Tensor:
    """Compute attention by its formula, in float64, averaged over heads.

    For tests and analysis: it stores the whole attention map, which is too large for
    training.

    Args:
        query: (B, H, Nq, D).
        key: (B, H, Nk, D).
        scale: Factor of the logits.
        mask: Broadcast to (B, H, Nq, Nk): a float mask is added to the logits, a
            boolean one is True where a query may attend. Defaults to None.

    Returns:
        (B, Nq, Nk), float64.
    """
    heads = query.shape[1]
    if mask is not None:
        mask = mask.expand(*query.shape[:3], key.shape[2])
    total: Tensor | float = 0.0
    for head in range(heads):
        logits = query[:, head].double() @ key[:, head].double().mT * scale
        if mask is not None and mask.dtype == torch.bool:
            logits = logits.masked_fill(~mask[:, head], -torch.inf)
        elif mask is not None:
            logits = logits + mask[:, head].double()
        total = total + logits.softmax(dim=-1)
    return total / heads


@torch.no_grad()
def weigh(weights: Tensor, share: Tensor) -> Tensor:
    """Move a share by given attention weights.

    Args:
        weights: Softmax output before dropout (B, H, Nq, Nk).
        share: Share of the keys (B, Nk, S).

    Returns:
        Moved share (B, Nq, S).
    """
    mean = weights.detach().mean(dim=1, dtype=torch.float32)
    if torch.finfo(weights.dtype).bits < 32:
        # Rounded rows do not sum to one, and would not give a share.
        mean = mean / mean.sum(dim=-1, keepdim=True)
    return multiply(mean, share)


@torch.no_grad()
def multiply(weights: Tensor, share: Tensor) -> Tensor:
    """Multiply attention (B, Nq, Nk) with a share (B, Nk, S), both float32.

    It never uses a matrix product in float32, which PyTorch may be set to compute in
    TF32 on a GPU and in bfloat16 on a CPU.
    """
    if share.shape[-1] == 1:
        return (weights * share.mT).sum(dim=-1, keepdim=True)
    with torch.autocast(share.device.type, enabled=False):
        if share.device.type == 'mps':  # no float64, but exact float32 products
            return weights @ share
        return (weights.double() @ share.double()).float()


@torch.no_grad()
def average(share: Tensor, moved: Tensor, residual: float = 1.0) -> Tensor:
    """Average the moved share with the share before: ``(r p + A p) / (r + 1)``.

    Args:
        share: Share ``p`` before the attention (B, N, S).
        moved: Moved share ``A p`` of the leading tokens (B, Nq, S); that of the others
            does not change.
        residual: Weight r of the share before.

    Returns:
        Share after the attention (B, N, S).
    """
    before, rest = share.tensor_split([moved.shape[1]], dim=1)
    after = moved.add(before, alpha=residual) / (residual + 1)
    return torch.cat([after, rest], dim=1) if rest.shape[1] else after


@torch.no_grad()
def average_appended(
    share: Tensor, moved: Tensor, count: int, residual: float, flat: bool
) -> Tensor:
    """Average as :func:`average`, and merge appended tokens into the first token.

    Args:
        share: Share before the attention (B, N, S).
        moved: Moved share (B, N + count, S), appended tokens last.
        count: Number of tokens that :func:`append_mean` appended.
        residual: Weight r of the share before.
        flat: True: the first token averages its own moved share, theirs and its share
            before at once. False: it first averages its own moved share with theirs.

    Returns:
        Share after the attention (B, N, S).
    """
    moved, appended = moved.tensor_split([-count], dim=1)
    first = (moved[:, :1] + appended.mean(dim=1, keepdim=True)) / 2
    after = average(share, torch.cat([first, moved[:, 1:]], dim=1), residual)
    if flat:
        first = (2 * first).add(share[:, :1], alpha=residual) / (residual + 2)
        after = torch.cat([first, after[:, 1:]], dim=1)
    return after


@torch.no_grad()
def add_prefix(share: Tensor, start: Tensor, prefix: int) -> Tensor:
    """Prepend ``prefix`` special tokens of share ``start`` (B, S) to (B, N, S)."""
    if not prefix:
        return share
    return torch.cat([start[:, None].expand(-1, prefix, -1), share], dim=1)


def count_windows(grid: Pair, window: Pair) -> int:
    """Return how many windows cover a map."""
    return -(-grid[0] // window[0]) * -(-grid[1] // window[1])


def window_places(
    grid: Pair, window: Pair, shift: Pair, pad_first: bool = True
) -> Tensor:
    """Return the index on the map of each token of each window.

    Args:
        grid: ``(h, w)``.
        window: Height and width of a window in tokens.
        shift: Effective shift of this forward pass, rows and columns.
        pad_first: Whether a map that does not fill its windows is padded and then
            shifted, or shifted and then padded. Defaults to True.

    Returns:
        (windows, tokens of a window), int32, -1 for padding.
    """
    # float32 is exact for these indices. They start at 1, as padding gives 0.
    at = torch.arange(1, grid[0] * grid[1] + 1, dtype=torch.float32)[None, :, None]
    return to_windows(at, grid, window, shift, pad_first)[..., 0].int() - 1


@torch.no_grad()
def to_windows(
    share: Tensor, grid: Pair, window: Pair, shift: Pair, pad_first: bool = True
) -> Tensor:
    """Cut a token map into shifted windows, in the order of Swin (ICCV 2021).

    Args:
        share: (B, h * w, S).
        grid: ``(h, w)``.
        window: Height and width of a window in tokens.
        shift: Effective shift of this forward pass, rows and columns; 0 where the
            map is a single window.
        pad_first: Whether a map that does not fill its windows is padded and
            then shifted, as in the official code, or shifted and then padded,
            as in timm. Defaults to True.

    Returns:
        (B * windows, tokens of a window, S). If the map does not fill its windows
        there are S + 1 columns: padding tokens have share 0, and the last column is
        the mass, 1 for real tokens and 0 for padding.
    """
    height, width = grid
    maps = share.unflatten(1, grid)
    below, right = -height % window[0], -width % window[1]
    if any(shift) and not pad_first:
        maps = maps.roll((-shift[0], -shift[1]), dims=(1, 2))
    if below or right:
        mass = maps.new_ones(*maps.shape[:-1], 1)
        maps = F.pad(torch.cat([maps, mass], dim=-1), (0, 0, 0, right, 0, below))
    if any(shift) and pad_first:
        maps = maps.roll((-shift[0], -shift[1]), dims=(1, 2))
    maps = maps.unflatten(2, (-1, window[1])).unflatten(1, (-1, window[0]))
    return maps.transpose(2, 3).flatten(0, 2).flatten(1, 2)


@torch.no_grad()
def from_windows(
    windows: Tensor,
    grid: Pair,
    window: Pair,
    shift: Pair,
    pad_first: bool,
    columns: int,
) -> Tensor:
    """Invert :func:`to_windows`, and divide by the mass if there is one.

    Args:
        windows: Output of :func:`to_windows`, moved by attention.
        grid: ``(h, w)``.
        window: Height and width of a window in tokens.
        shift: Effective shift of this forward pass, rows and columns.
        pad_first: Whether a map that does not fill its windows is padded and then
            shifted, or shifted and then padded.
        columns: Number of share columns S.

    Returns:
        (B, h * w, S).
    """
    height, width = grid
    rows, across = -(-height // window[0]), -(-width // window[1])
    maps = windows.unflatten(1, tuple(window)).unflatten(0, (-1, rows, across))
    maps = maps.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    if any(shift) and pad_first:
        maps = maps.roll(tuple(shift), dims=(1, 2))
    maps = maps[:, :height, :width]
    if any(shift) and not pad_first:
        maps = maps.roll(tuple(shift), dims=(1, 2))
    maps = maps.flatten(1, 2)
    if maps.shape[-1] > columns:
        return maps[..., :columns] / maps[..., columns:]
    return maps


@torch.no_grad()
def merge(
    share: Tensor,
    grid: Pair,
    kernel: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
) -> tuple[Tensor, Pair]:
    """Merge groups of tokens into the mean of their real tokens.

    Args:
        share: (B, h * w, S).
        grid: ``(h, w)``.
        kernel, stride: Size of a group and step between groups, in tokens.
        padding: Left, right, top, bottom. Padding does not enter the mean.

    Returns:
        Merged share (B, h' * w', S) and the new grid ``(h', w')``.
    """
    maps = share.mT.unflatten(2, grid)
    if not any(padding):
        pooled = F.avg_pool2d(maps, kernel, stride)
    else:
        real = F.pad(maps.new_ones(1, 1, *grid), padding)
        pooled = F.avg_pool2d(F.pad(maps, padding), kernel, stride)
        pooled = pooled / F.avg_pool2d(real, kernel, stride)
    return pooled.flatten(2).mT, tuple(pooled.shape[-2:])


@torch.no_grad()
def merge_nearest(
    mask: Tensor,
    grid: Pair,
    kernel: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
) -> tuple[Tensor, Pair]:
    """Merge the tokens of a mask by keeping the first of each group (TransMix, §3).

    Args:
        mask: (1 or B, h * w).
        grid: ``(h, w)``.
        kernel, stride: Size of a group and step between groups, in tokens.
        padding: Left, right, top, bottom.

    Returns:
        Merged mask (1 or B, h' * w') and the new grid ``(h', w')``.
    """
    left, right, top, bottom = padding
    rows = (grid[0] + top + bottom - kernel[0]) // stride[0] + 1
    columns = (grid[1] + left + right - kernel[1]) // stride[1] + 1
    maps = mask.unflatten(1, grid)[:, :: stride[0], :: stride[1]]
    return maps[:, :rows, :columns].flatten(1), (rows, columns)


@torch.no_grad()
def pool(share: Tensor, grid: Pair, prefix: int, pooling: Callable) -> Tensor:
    """Pool the shares of image tokens, for the keys of spatial-reduction attention.

    Args:
        share: (B, P + h * w, S).
        grid: ``(h, w)``.
        prefix: Number of special tokens P, which are not pooled.
        pooling: Function that averages maps (B, S, h, w), such as ``F.avg_pool2d``.

    Returns:
        (B, P + h' * w', S).
    """
    pooled = pooling(share[:, prefix:].mT.unflatten(2, grid)).flatten(2).mT
    return torch.cat([share[:, :prefix], pooled], dim=1) if prefix else pooled


@torch.no_grad()
def append_mean(share: Tensor, count: int) -> Tensor:
    """Append ``count`` tokens, each the mean of all tokens, to (B, N, S)."""
    mean = share.mean(dim=1, keepdim=True)
    return torch.cat([share, mean.expand(-1, count, -1)], dim=1)
