"""Calls of the share kernels beside the formula in float64, a number each.

    TRITON_INTERPRET=1 MMTLALIGN_SHARE_KERNEL=triton python tests/lib/share_cases.py

runs them on a CPU, in Triton's interpreter, and prints the largest error of each.
"""

import itertools
import json
import sys
from unittest import mock

import torch
from dense_tracer import ROWS, Dense, target

from mmtlalign.tracing.kernels import dispatch, launch, value_channels
from mmtlalign.tracing.kernels.blocks import Block, read_table
from mmtlalign.tracing.propagate import attention_by_formula
from mmtlalign.tracing.tracer import Tracer

HALF, HALF16, SINGLE = torch.bfloat16, torch.float16, torch.float32
NETWORK = 'target of '
GRIDS = {
    'whole': ((14, 14), (7, 7), (0, 0), True, 1, SINGLE),
    'shifted': ((14, 14), (7, 7), (3, 3), True, 1, HALF),
    'padded, then shifted': ((9, 11), (4, 4), (2, 2), True, 2, SINGLE),
    'shifted, then padded': ((9, 11), (4, 5), (2, 1), False, 3, HALF16),
    'many tokens': ((13, 20), (12, 12), (6, 0), True, 1, SINGLE),
}


def attention(device, dtype=HALF, width=64, queries=77, keys=77, spread=1.0):
    """Queries and keys (2, 2, N, D) as a projection leaves them, or otherwise."""
    if queries == keys:
        packed = (torch.randn(2, queries, 3, 2, width) * spread).to(device, dtype)
        return packed.permute(2, 0, 3, 1, 4).unbind(0)[:2]
    query = torch.randn(2, queries, 2, width).transpose(1, 2).to(device, dtype)
    # The last axis is not contiguous.
    return query, torch.randn(2, 2, width, keys).to(device, dtype).mT


def propagate(device, columns=1, mask=None, before=True, residual=1.0, **options):
    query, key = attention(device, **options)
    scale = query.shape[-1] ** -0.5
    share = torch.rand(2, key.shape[2], columns, device=device)
    old = torch.rand(2, query.shape[2] + 3, columns, device=device)[:, 3:]
    mask = None if mask is None else mask.to(device)
    old = old if before else None
    found = dispatch.propagate(query, key, share, scale, mask, old, residual)
    exact = attention_by_formula(query, key, scale, mask) @ share.double()
    if before:
        exact = (exact + residual * old.double()) / (residual + 1)
    assert found.dtype == torch.float32
    return found, exact


def tile(device, block, columns=1, masked=False, **options):
    """A tile of the table, where the choice for two images would be a smaller one."""
    tokens = 577 if device != 'cpu' else 2 * max(block.rows, block.columns) + 19
    query, key = attention(device, queries=tokens, keys=tokens, **options)
    share = torch.rand(2, tokens, columns, device=device)
    mask = torch.randn(tokens, tokens, device=device) if masked else None
    found = launch.propagate(block, query, key, share, 0.125, mask, share)
    exact = attention_by_formula(query, key, 0.125, mask) @ share.double()
    return found, (exact + share.double()) / 2


def list_tiles():
    """Yield the options of `tile` for each row of the table, at its widest."""
    for table in read_table().values():
        for row in table:
            if row['kernel'] == 'propagate':
                yield (
                    Block(*row['block']),
                    row.get('columns', 1),
                    row.get('masked', True),
                    SINGLE if row['bits'] == 32 else HALF,
                    row.get('width', 128),
                )


def class_rows(device, count=1, mask=None, **options):
    query, key = attention(device, **options)
    mask = None if mask is None else mask.to(device)
    call = (query.shape[-1] ** -0.5, mask)
    found = dispatch.class_rows(query, key, count, *call)
    return found, attention_by_formula(query, key, *call)[:, :count]


def received(device, images=1, mask=None, **options):
    query, key = attention(device, **options)
    mask = None if mask is None else mask.to(device)
    rows = torch.rand(images, query.shape[2], device=device)
    rows[:, 0] = 0
    call = (query.shape[-1] ** -0.5, mask)
    found = dispatch.received(query, key, rows, *call)
    return found, (attention_by_formula(query, key, *call) * rows[..., None]).sum(dim=1)


def windows(device, grid, window, shift, pad_first, columns, dtype):
    """Against the tracer of plain PyTorch, in float64."""
    share = torch.rand(2, grid[0] * grid[1], columns, device=device)
    tracer = Tracer(share, grid, 0, 1)
    tracer.share = share.double()
    tracer.enter_windows(grid, window, shift, pad_first)
    tokens = window[0] * window[1]
    parts = 2 * -(-grid[0] // window[0]) * -(-grid[1] // window[1])
    weights = torch.randn(parts, 2, tokens, tokens).softmax(-1).to(device, dtype)
    mean = weights.double().mean(1)
    tracer.move_share(mean / mean.sum(-1, True) @ tracer.key_share(parts, tokens))
    tracer.leave_windows()
    found = dispatch.weigh_windows(weights, share, grid, window, shift, pad_first)
    return found, tracer.share


def network(device, row, dtype):
    """The whole target of a small network, which stays on the CPU."""
    with mock.patch.object(value_channels, '_BACKWARD', None):  # as on a GPU
        return target(row, dtype), target(row, dtype, Dense)


def list_cases():
    """Yield names and calls."""
    for width in (8, 16, 24, 32, 48, 64, 80, 96, 128):
        yield f'width {width}', lambda d, w=width: propagate(d, width=w)
    for dtype in (HALF16, SINGLE):
        for width in (48, 64):
            name = f'{str(dtype)[6:]}, width {width}'
            yield name, lambda d, t=dtype, w=width: propagate(d, dtype=t, width=w)
    for columns in (2, 5, 32):
        yield (
            f'{columns} columns',
            lambda d, s=columns: propagate(d, s, residual=2.0),
        )
    yield '5 columns, float32', lambda d: propagate(d, 5, dtype=SINGLE)
    for queries, keys in ((64, 64), (65, 65), (127, 127), (49, 16), (1, 77), (130, 3)):
        name = f'{queries} queries, {keys} keys'
        yield name, lambda d, q=queries, k=keys: propagate(d, queries=q, keys=k)
    yield 'no average', lambda d: propagate(d, before=False)
    yield 'residual 0', lambda d: propagate(d, residual=0.0)
    yield 'sharp', lambda d: propagate(d, spread=3.0)
    for shape in ((77, 77), (2, 77, 77), (2, 1, 77, 77), (1, 2, 77, 77), (2, 1, 1, 77)):
        yield f'added {shape}', lambda d, s=shape: propagate(d, mask=torch.randn(s))
        yield (
            f'kept {shape}',
            lambda d, s=shape: propagate(d, mask=torch.rand(s) > 0.3),
        )
    yield 'added bfloat16', lambda d: propagate(d, mask=torch.randn(77, 77).to(HALF))
    yield (
        'added, 3 columns',
        lambda d: propagate(d, 3, mask=torch.randn(2, 77, 77), dtype=SINGLE),
    )
    for count in (1, 2, 5):
        yield f'{count} rows', lambda d, p=count: class_rows(d, p, width=48)
    yield 'rows, masked', lambda d: class_rows(d, 2, torch.randn(2, 77, 77))
    yield 'rows, kept', lambda d: class_rows(d, 1, torch.rand(2, 1, 1, 77) > 0.3)
    yield 'received', received
    yield 'received, masked', lambda d: received(d, 2, torch.randn(2, 77, 77), width=80)
    yield 'received, float32', lambda d: received(d, dtype=SINGLE, width=32)
    for block, columns, masked, dtype, width in dict.fromkeys(list_tiles()):
        yield (
            f'tile {(*block,)}, {columns} columns, {masked}, {dtype}, width {width}',
            lambda d, b=block, s=columns, m=masked, t=dtype, w=width: tile(
                d, b, s, m, dtype=t, width=w
            ),
        )
    for name, options in GRIDS.items():
        yield f'windows {name}', lambda d, o=options: windows(d, *o)
    for row, dtype in itertools.product(ROWS, (HALF, HALF16)):
        yield (
            f'{NETWORK}{row}, {str(dtype)[6:]}',
            lambda d, r=row, t=dtype: network(d, r, t),
        )


CASES = dict(list_cases())


@torch.no_grad()
def error_of(name, device):
    """Largest error of a case."""
    torch.manual_seed(0)
    found, exact = CASES[name](device)
    assert torch.isfinite(found).all()
    return (found.double() - exact).abs().max().item()


if __name__ == '__main__':
    torch.set_num_threads(1)
    print(json.dumps({name: error_of(name, 'cpu') for name in CASES}))
    sys.exit()
