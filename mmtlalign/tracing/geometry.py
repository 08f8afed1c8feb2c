"""How shares move where tokens are cut, merged, pooled or joined: pure functions.

Shapes as in :mod:`mmtlalign.tracing.rules`; ``h, w`` is the token grid, ``P``
the number of special tokens. Merging is the mean (TL-Align, ICCV 2023, §3.3).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]


def convolved(size: Pair, layer) -> Pair:
    """Rows and columns that a convolution makes of a map of ``size``."""
    return tuple(
        (side + 2 * pad - kernel) // stride + 1
        for side, pad, kernel, stride in zip(
            size, layer.padding, layer.kernel_size, layer.stride
        )
    )


@torch.no_grad()
def add_prefix(share: Tensor, start: Tensor, prefix: int) -> Tensor:
    """Put special tokens, which start at ``start`` (B, S), before (B, N, S)."""
    if not prefix:
        return share
    return torch.cat([start[:, None].expand(-1, prefix, -1), share], dim=1)


@torch.no_grad()
def to_windows(
    share: Tensor, grid: Pair, window: Pair, shift: Pair, pad_first: bool = True
) -> Tensor:
    """Cut a token map into shifted windows, in the order of Swin (ICCV 2021).

    Args:
        share: (B, h * w, S).
        grid: ``(h, w)``.
        window: Height and width of a window in tokens.
        shift: Effective shift of this forward, rows and columns; 0 where the
            map is one window.
        pad_first: Whether a map that does not fill its windows is padded and
            then shifted, as in the official code, or shifted and then padded,
            as in timm. Defaults to True.

    Returns:
        (B * windows, tokens of a window, S). Where the map does not fill its
        windows S + 1 columns: padding tokens carry no share, and the last
        column is the mass, 1 for real tokens, else 0.
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
    """Inverse of :func:`to_windows`; divides by the mass where there is one.

    Args:
        windows: What :func:`to_windows` gave, moved by attention.
        grid, window, shift, pad_first: As there.
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
    padding: Padding = (0, 0, 0, 0),
) -> tuple[Tensor, Pair]:
    """Merge tokens: the mean of the real ones in each group.

    Args:
        share: (B, h * w, S).
        grid: ``(h, w)``.
        kernel, stride: Of the merging, in tokens.
        padding: Left, right, top, bottom. Padding is not counted.

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
    padding: Padding = (0, 0, 0, 0),
) -> tuple[Tensor, Pair]:
    """Merge a mask (1 or B, h * w) as TransMix down-samples one: the first
    token stands for its group (CVPR 2022, §3). As :func:`merge` otherwise."""
    left, right, top, bottom = padding
    rows = (grid[0] + top + bottom - kernel[0]) // stride[0] + 1
    columns = (grid[1] + left + right - kernel[1]) // stride[1] + 1
    maps = mask.unflatten(1, grid)[:, :: stride[0], :: stride[1]]
    return maps[:, :rows, :columns].flatten(1), (rows, columns)


@torch.no_grad()
def pool(share: Tensor, grid: Pair, prefix: int, pooling) -> Tensor:
    """Pool image tokens, as keys are in spatial-reduction attention.

    Args:
        share: (B, P + h * w, S).
        grid: ``(h, w)``.
        prefix: Number of special tokens P, which stay as they are.
        pooling: What averages maps (B, S, h, w), as ``F.avg_pool2d`` does.

    Returns:
        (B, P + h' * w', S).
    """
    pooled = pooling(share[:, prefix:].mT.unflatten(2, grid)).flatten(2).mT
    return torch.cat([share[:, :prefix], pooled], dim=1) if prefix else pooled


@torch.no_grad()
def append_mean(share: Tensor, count: int) -> Tensor:
    """Put ``count`` tokens, each the mean of all, behind (B, N, S)."""
    mean = share.mean(dim=1, keepdim=True)
    return torch.cat([share, mean.expand(-1, count, -1)], dim=1)
