"""The check of a Triton kernel against the formula in float64."""

import math

import torch
from torch import Tensor

from mmtlalign.tracing.kernels import launch, plain
from mmtlalign.tracing.kernels.blocks import Kind
from mmtlalign.tracing.propagate import attention_by_formula, count_windows


@torch.no_grad()
def largest_error(kind: Kind) -> float:
    """Return the largest error of a kernel in a case of a few tiles."""
    draw = torch.Generator(kind.device).manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, device=kind.device)

    if kind.windows is not None:
        grid, window, *_ = kind.windows
        count = 2 * count_windows(grid, window)
        weights = random(count, 2, kind.width, kind.width).softmax(-1).to(kind.dtype)
        share = random(2, math.prod(grid), kind.columns)
        found = launch.weigh_windows(kind.block, weights, share, *kind.windows)
        exact = plain.weigh_windows(weights, share, *kind.windows)
        return _distance(found, exact)
    # Two whole tiles each way, and a part of one.
    queries, keys = (2 * side + 11 for side in kind.block[:2])
    if kind.name == 'propagate':
        keys = 2 * kind.block.columns + max(0, kind.tail - 5)
    query = random(2, queries, 2, kind.width).transpose(1, 2).to(kind.dtype)
    key = random(2, keys, 2, kind.width).transpose(1, 2).to(kind.dtype)
    if kind.columns == 1 and kind.mask is None and not kind.slim:
        key = key.mT.contiguous().mT  # its channels are not adjacent
    mask = None
    if kind.mask is not None:
        mask = random(2, 2, queries, keys)
        mask = mask > -1 if kind.mask == torch.bool else mask.to(kind.mask)
    call: tuple[float, Tensor | None] = (kind.width**-0.5, mask)
    exact = attention_by_formula(query, key, *call)
    if kind.name == 'class_rows':
        return _distance(
            launch.class_rows(kind.block, query, key, 2, *call), exact[:, :2]
        )
    if kind.name == 'received':
        rows = random(2, queries).abs()
        found = launch.received(kind.block, query, key, rows, *call)
        return _distance(found, (exact * rows[..., None]).sum(dim=1))
    share, before = (random(2, n, kind.columns).sigmoid() for n in (keys, queries))
    found = launch.propagate(kind.block, query, key, share, *call, before)
    return _distance(found, (exact @ share.double() + before) / 2)


def _distance(found: Tensor, exact: Tensor) -> float:
    error = (found - exact).abs().max().item()
    return error if math.isfinite(error) else math.inf
