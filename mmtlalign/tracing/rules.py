"""How shares move: pure functions, one for each event that a network offers.

Shapes: ``B`` batch, ``H`` heads, ``N`` tokens with special tokens first, ``D``
channels of a head, ``S`` share columns, ``h, w`` token grid. Shares are
float32 and never have a gradient.

Source: TL-Align (ICCV 2023, §3.3): a layer moves labels by its attention,
averaged over heads, then averages the result with the labels before. Because
every step is linear in the labels, moving shares of the two sources and
multiplying by the labels at the end is the same (docs/tracing.md).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def ride(
    query: Tensor, key: Tensor, value: Tensor, share: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Attention whose values carry the share along, in one fused call.

    The share columns are appended to the values of every head and split off
    the output, so no (N, N) matrix is ever stored. Queries and keys are padded
    with zeros to the same width, without which the CPU leaves the fused kernel.

    Args:
        query, key, value: (B, H, N, D), float32.
        share: (B, N, S).
        scale: Factor of the logits.

    Returns:
        The attention's output (B, H, N, D) and the moved share (B, N, S).
    """
    heads, width, columns = value.shape[1], value.shape[-1], share.shape[-1]
    share = share[:, None].expand(-1, heads, -1, -1).to(value.dtype)
    # Kernels like widths that are multiples of 8.
    padding = -(width + columns) % 8
    query = F.pad(query, (0, columns + padding))
    key = F.pad(key, (0, columns + padding))
    value = F.pad(torch.cat([value, share], dim=-1), (0, padding))
    out = F.scaled_dot_product_attention(query, key, value, scale=scale)
    moved = out[..., width : width + columns].detach()
    return out[..., :width], moved.mean(dim=1)


@torch.no_grad()
def attend(query: Tensor, key: Tensor, share: Tensor, scale: float) -> Tensor:
    """The share moved by attention, in a fused call of its own, in float32.

    For half precision, whose rounding a share must not see, and for attention
    dropout, which the trace must not see.

    Args:
        query, key: (B, H, N, D) of any floating type.
        share: (B, N, S).
        scale: Factor of the logits.

    Returns:
        Moved share (B, N, S).
    """
    heads, width, columns = key.shape[1], key.shape[-1], share.shape[-1]
    side = -(-max(width, columns) // 8) * 8
    with torch.autocast(query.device.type, enabled=False):
        out = F.scaled_dot_product_attention(
            F.pad(query.float(), (0, side - width)),
            F.pad(key.float(), (0, side - width)),
            F.pad(share, (0, side - columns))[:, None].expand(-1, heads, -1, -1),
            scale=scale,
        )
    return out[..., :columns].mean(dim=1)


@torch.no_grad()
def weigh(weights: Tensor, share: Tensor) -> Tensor:
    """The share moved by attention weights that are at hand.

    Args:
        weights: Softmax output before dropout (B, H, Nq, Nk).
        share: Of the keys (B, Nk, S).

    Returns:
        Moved share (B, Nq, S).
    """
    mean = weights.detach().mean(dim=1, dtype=torch.float32)
    with torch.autocast(weights.device.type, enabled=False):
        return mean @ share


@torch.no_grad()
def prefix_rows(query: Tensor, key: Tensor, prefix: int, scale: float) -> Tensor:
    """Attention rows of the special tokens alone, averaged over heads.

    Args:
        query, key: (B, H, N, D).
        prefix: How many special tokens lead the sequence, P.
        scale: Factor of the logits.

    Returns:
        (B, P, N), float32, before dropout; never a full map.
    """
    with torch.autocast(query.device.type, enabled=False):
        logits = query[:, :, :prefix].float() @ key.float().mT * scale
    return logits.softmax(dim=-1).mean(dim=1)


@torch.no_grad()
def add_prefix(share: Tensor, start: Tensor, prefix: int) -> Tensor:
    """Put special tokens, which start at ``start`` (B, S), before (B, N, S)."""
    if not prefix:
        return share
    return torch.cat([start[:, None].expand(-1, prefix, -1), share], dim=1)


@torch.no_grad()
def to_windows(share: Tensor, grid: tuple[int, int], window: int, shift: int) -> Tensor:
    """Cut a token map into shifted windows, in the order of Swin (ICCV 2021).

    Args:
        share: (B, h * w, S).
        grid: ``(h, w)``.
        window: Side of a window in tokens.
        shift: Effective shift of this forward, 0 when the map is one window.

    Returns:
        (B * windows, window * window, S). Where the map does not fill its
        windows, (B * windows, window * window, S + 1): padding tokens carry no
        share, and the last column is their mass, 1 for real tokens, else 0.
    """
    height, width = grid
    maps = share.unflatten(1, grid)
    below, right = -height % window, -width % window
    if below or right:
        mass = maps.new_ones(*maps.shape[:-1], 1)
        maps = F.pad(torch.cat([maps, mass], dim=-1), (0, 0, 0, right, 0, below))
    if shift:
        maps = maps.roll((-shift, -shift), dims=(1, 2))
    maps = maps.unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return maps.transpose(2, 3).flatten(0, 2).flatten(1, 2)


@torch.no_grad()
def from_windows(
    windows: Tensor, grid: tuple[int, int], window: int, shift: int, columns: int
) -> Tensor:
    """Inverse of :func:`to_windows`; divides by the mass where there is one.

    Args:
        windows: What :func:`to_windows` gave, moved by attention.
        grid, window, shift: As there.
        columns: Number of share columns S.

    Returns:
        (B, h * w, S).
    """
    height, width = grid
    rows, across = -(-height // window), -(-width // window)
    maps = windows.unflatten(1, (window, window)).unflatten(0, (-1, rows, across))
    maps = maps.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    if shift:
        maps = maps.roll((shift, shift), dims=(1, 2))
    maps = maps[:, :height, :width].flatten(1, 2)
    if maps.shape[-1] > columns:
        return maps[..., :columns] / maps[..., columns:]
    return maps


@torch.no_grad()
def merge(
    share: Tensor,
    grid: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> tuple[Tensor, tuple[int, int]]:
    """Merge tokens: the mean of the real ones in each group (§3.3).

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
