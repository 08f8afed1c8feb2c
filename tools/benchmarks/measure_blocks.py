"""Measure the Triton kernels that move shares, and tune their table of tiles, on a GPU.

    python tools/benchmarks/measure_blocks.py --shapes        # beside the other ways
    python tools/benchmarks/measure_blocks.py --tune --json tiles.json --out table.json

The shapes are those of layers of usual networks. Tuning takes each row of the table
that is for this GPU, measures it with other tiles at the most channels that the row is
for, and writes the table with the fastest tile that is right and at least 3 % faster
than the one of the row. Both files are written after every row, and the rows in the
file of --json are not measured again. The result is to replace share_blocks.json in
mmtlalign/tracing/kernels.
"""

import argparse
import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.compat.files import atomic_write
from mmtlalign.tracing.kernels import gpu, launch, plain
from mmtlalign.tracing.kernels.blocks import TABLE, Block
from tools.benchmarks import timing
from tools.output import write_json

# Images, heads, queries, keys, channels of a head.
SHAPES = {
    'DeiT-T 224': (128, 3, 197, 197, 64),
    'DeiT-S 224': (128, 6, 197, 197, 64),
    'DeiT-B 224': (128, 12, 197, 197, 64),
    'DeiT-S 384': (128, 6, 577, 577, 64),
    'ViT-S 1,025': (24, 6, 1025, 1025, 64),
    'ViT-S 4,097': (6, 6, 4097, 4097, 64),
    'PVT-S, stage 1': (128, 1, 3136, 49, 64),
}
# Rows and columns of the tiles that are tried: one column in half precision, and the
# rest, which needs more registers and shared memory.
SIZES = (64, 32), (64, 64), (64, 128), (128, 32), (128, 64)
SMALL_SIZES = (16, 32), (32, 32), (64, 32), (64, 64)
WORTH = 0.97
DEVICE = 'cuda'


def draw(shape: tuple, dtype: torch.dtype, columns: int = 1) -> tuple[Tensor, ...]:
    """Return queries, keys and values with the strides of a projection, and a share."""
    batch, heads, queries, keys, width = shape
    query, key, value = (
        torch.randn(batch, n, heads, width, device=DEVICE, dtype=dtype).transpose(1, 2)
        for n in (queries, keys, keys)
    )
    return query, key, value, torch.rand(batch, keys, columns, device=DEVICE)


def microseconds(call: Callable, *arguments: object, rounds: int = 20) -> float:
    """Return the median time of a call on the GPU, which is kept busy."""
    runs = 10
    call(*arguments)
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in '12')
        start.record()
        for _ in range(runs):
            call(*arguments)
        end.record()
        end.synchronize()
        times.append(1e3 * start.elapsed_time(end) / runs)
    return median(times)


def measure_shapes() -> Iterator[dict]:
    """Yield the times for a layer: by the kernel, by PyTorch, and of the attention."""
    for name, shape in SHAPES.items():
        query, key, value, share = draw(shape, torch.bfloat16)
        before = torch.rand(shape[0], shape[2], 1, device=DEVICE)
        call = (query, key, share, shape[-1] ** -0.5, None, before, 1.0)
        kind = gpu.kind_of('propagate', *call)
        if not gpu.passes(kind):
            raise SystemExit(f'{name}: the kernel gives wrong results or does not run')
        yield dict(
            layer=name,
            tile=list(kind.block),
            triton=microseconds(launch.propagate, kind.block, *call),
            sdpa=microseconds(plain.propagate, *call),
            own=microseconds(F.scaled_dot_product_attention, query, key, value),
        )


def is_usual(row: dict) -> bool:
    """Return whether a row is for one column without a mask in half precision."""
    return row.get('bits') == 16 and row.get('masked') is False and row['columns'] == 1


def split(rows: list[dict]) -> Iterator[dict]:
    """Yield the rows, with the first usual one split by short and long sequences."""
    done = any('keys' in row for row in rows)
    for row in rows:
        if not done and is_usual(row):
            done = True
            yield row | dict(keys=511)
        yield row


def shape_of(row: dict) -> tuple:
    """Return a shape that a row is for, with the most channels of a head."""
    long = is_usual(row) and 'keys' not in row
    tokens = 1025 if long else 197
    return (24 if long else 128, 6, tokens, tokens, row.get('width', gpu.MOST_WIDTH))


def candidates(row: dict) -> list[Block]:
    """Return the tile of a row, then others."""
    if row['kernel'] == 'weigh_windows':
        others = [Block(0, 0, warps, 1) for warps in (2, 4, 8)]
    elif row['kernel'] == 'class_rows':
        others = [Block(16, n, w, 2) for n in (32, 64, 128, 256) for w in (4, 8)]
    else:
        usual = is_usual(row)
        others = [
            Block(*size, warps, stages)
            for size in (SIZES if usual else SMALL_SIZES)
            for warps in (4, 8)
            for stages in ((2, 3) if usual else (2,))
        ]
    return list(dict.fromkeys([Block(*row['block']), *others]))


def arguments_of(row: dict) -> tuple:
    """Return arguments for the kernel of a row."""
    dtype = torch.float32 if row.get('bits') == 32 else torch.bfloat16
    if row['kernel'] == 'weigh_windows':
        weights = torch.rand(128 * 64, 3, 49, 49, device=DEVICE).softmax(-1).to(dtype)
        share = torch.rand(128, 56 * 56, 1, device=DEVICE)
        return (weights, share, (56, 56), (7, 7), (3, 3), True, 1.0)
    shape = shape_of(row)
    query, key, _, share = draw(shape, dtype, row.get('columns', 1))
    mask = None
    if row['kernel'] == 'propagate' and row.get('masked') is not False:
        mask = torch.randn(shape[2], shape[3], device=DEVICE)
    rest = (shape[-1] ** -0.5, mask)
    if row['kernel'] == 'class_rows':
        return (query, key, 1, *rest)
    if row['kernel'] == 'received':
        return (query, key, torch.rand(1, shape[2], device=DEVICE), *rest)
    return (query, key, share, *rest, share, 1.0)


def compile_tile(row: dict, block: Block) -> None:
    """Compile the kernel of a row with a tile; Triton keeps it in its cache."""
    # What the GPU cannot run is reported when it is measured.
    with contextlib.suppress(Exception):
        getattr(launch, row['kernel'])(block, *arguments_of(row))
        torch.cuda.synchronize()


def measure_row(row: dict, pool: Executor) -> dict:
    """Return a row, its fastest tile, and the times of all tiles that are right."""
    tiles = candidates(row)
    list(pool.map(functools.partial(compile_tile, row), tiles))
    arguments = arguments_of(row)
    expected = getattr(plain, row['kernel'])(*arguments)
    times: dict[Block, float] = {}
    for block in tiles:
        call = functools.partial(getattr(launch, row['kernel']), block, *arguments)
        try:
            if (call() - expected).abs().max() < gpu.BOUND:
                times[block] = microseconds(call, rounds=7)
        except Exception as error:  # the tile needs more than the GPU has
            print(f'  {tuple(block)}: {gpu.first_line(error)}', flush=True)
    old = Block(*row['block'])
    best = min(times, key=times.get, default=old)
    if old in times and times[best] >= WORTH * times[old]:
        best = old
    found = {str(tuple(block)): round(time, 1) for block, time in times.items()}
    print(f'{row}: {tuple(best)} of {found} µs', flush=True)
    return dict(row=row, block=list(best), microseconds=found)


def tune(rows: list[dict], path: Path | None) -> Iterator[list[dict]]:
    """Measure the rows that a file lacks; yield all with their tiles so far."""
    found = json.loads(path.read_text()) if path and path.exists() else []
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 8), get_context('spawn')) as pool:
        for row in rows:
            if not any(known['row'] == row for known in found):
                found.append(measure_row(row, pool))
                if path:
                    write_json(path, found)
            tiles = {json.dumps(known['row']): known['block'] for known in found}
            yield [r | dict(block=tiles.get(json.dumps(r), r['block'])) for r in rows]


def main(arguments: list[str] | None = None) -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--shapes', action='store_true')
    what.add_argument('--tune', action='store_true')
    parser.add_argument('--json', type=Path, help='write the times to this file')
    parser.add_argument('--out', type=Path, help='write the tuned table to this file')
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        parser.error('PyTorch finds no GPU here, but a GPU is needed')
    capability = gpu.capability_of(torch.device('cuda', 0))
    print(f'{torch.cuda.get_device_name()}, torch {torch.__version__}')
    if options.shapes:
        rows = list(measure_shapes())
        timing.print_table(
            'Microseconds of a layer, bfloat16, measured on this GPU',
            ('layer', 'tile', 'triton', 'sdpa', 'own attention'),
            [
                [r['layer'], str(tuple(r['tile']))]
                + [f'{r[k]:.1f}' for k in ('triton', 'sdpa', 'own')]
                for r in rows
            ],
        )
        if options.json:
            write_json(options.json, rows)
    if options.tune:
        table = json.loads(TABLE.read_text(encoding='utf-8'))
        near = str(max(int(c) for c in table if int(c) <= capability))
        rows = list(split(table[near]))
        for table[str(capability)] in tune(rows, options.json):
            if options.out:
                with atomic_write(options.out) as part:
                    part.write_text(format_table(table), encoding='utf-8')


def format_table(table: dict[str, list[dict]]) -> str:
    """Return the table as JSON with one line per row."""
    parts = []
    for capability in sorted(table, key=int):
        rows = ',\n'.join(f'  {json.dumps(row)}' for row in table[capability])
        parts.append(f' "{capability}": [\n{rows}\n ]')
    return '{\n' + ',\n'.join(parts) + '\n}\n'


if __name__ == '__main__':
    main()
