r"""Measure the Triton kernels that move shares, and tune their table of tiles, on a GPU.

    python tools/benchmarks/measure_blocks.py --shapes        # beside the other ways
    python tools/benchmarks/measure_blocks.py --tune          # a tile for each row
    python tools/benchmarks/measure_blocks.py --tune --out mmtlalign/tracing/kernels/share_blocks.json

The shapes are those of layers of usual networks. Tuning takes each row of the table that
is for this GPU, measures it with other tiles, and writes the table with the fastest
tile of every row that is right and at least 3 % faster than the one it had.
"""  # noqa: E501

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
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
TILES = [
    Block(rows, columns, warps, stages)
    for rows in (32, 64, 128)
    for columns in (32, 64, 128)
    for warps in (4, 8)
    for stages in (2, 3)
]
WORTH = 0.97


def draw(shape: tuple, dtype: torch.dtype, columns: int = 1) -> tuple[Tensor, ...]:
    """Return queries, keys and values with the strides of a projection, and a share."""
    batch, heads, queries, keys, width = shape
    query, key, value = (
        torch.randn(batch, n, heads, width, device='cuda', dtype=dtype).transpose(1, 2)
        for n in (queries, keys, keys)
    )
    return query, key, value, torch.rand(batch, keys, columns, device='cuda')


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
        before = torch.rand(shape[0], shape[2], 1, device='cuda')
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
    """Return a shape that a row of the table is for."""
    long = is_usual(row) and 'keys' not in row
    tokens = 1025 if long else 197
    return (24 if long else 128, 6, tokens, tokens, row.get('width', 64))


def candidates(row: dict) -> Iterator[Block]:
    """Yield the tile of a row, then others."""
    yield Block(*row['block'])
    if row['kernel'] == 'weigh_windows':
        yield from (Block(0, 0, warps, 1) for warps in (2, 4, 8))
    elif row['kernel'] == 'class_rows':
        yield from (Block(16, n, w, 2) for n in (32, 64, 128, 256) for w in (4, 8))
    else:
        yield from TILES


def calls_of(row: dict) -> Callable[[Block], Tensor]:
    """Return a function that launches the kernel of a row with a tile."""
    dtype = torch.float32 if row.get('bits') == 32 else torch.bfloat16
    shape, columns = shape_of(row), row.get('columns', 1)
    if row['kernel'] == 'weigh_windows':
        weights = torch.rand(128 * 64, 3, 49, 49, device='cuda').softmax(-1).to(dtype)
        share = torch.rand(128, 56 * 56, 1, device='cuda')
        where = ((56, 56), (7, 7), (3, 3), True, 1.0)
        return lambda block: launch.weigh_windows(block, weights, share, *where)
    query, key, _, share = draw(shape, dtype, columns)
    mask = None
    if row['kernel'] == 'propagate' and row.get('masked') is not False:
        mask = torch.randn(shape[2], shape[3], device='cuda')
    rest = (shape[-1] ** -0.5, mask)
    if row['kernel'] == 'class_rows':
        return lambda block: launch.class_rows(block, query, key, 1, *rest)
    if row['kernel'] == 'received':
        rows = torch.rand(1, shape[2], device='cuda')
        return lambda block: launch.received(block, query, key, rows, *rest)
    return lambda block: launch.propagate(block, query, key, share, *rest, share, 1.0)


def compile_tiles(row: dict) -> None:
    """Compile the kernel of a row with every tile; Triton keeps them in its cache."""
    call = calls_of(row)
    for block in dict.fromkeys(candidates(row)):
        # What the GPU cannot run is reported when it is measured.
        with contextlib.suppress(Exception):
            call(block)
    torch.cuda.synchronize()


def compile_all(rows: list[dict]) -> None:
    """Compile the kernels of all rows in processes of their own."""
    most = min(len(rows), os.cpu_count() or 1, 8)
    with ProcessPoolExecutor(most, get_context('spawn')) as pool:
        list(pool.map(compile_tiles, rows))


def tune(rows: list[dict]) -> Iterator[dict]:
    """Yield the rows with the fastest tiles, and what was measured."""
    for row in rows:
        call = calls_of(row)
        expected = call(Block(*row['block']))
        times: dict[Block, float] = {}
        for block in dict.fromkeys(candidates(row)):
            try:
                if (call(block) - expected).abs().max() < gpu.BOUND:
                    times[block] = microseconds(call, block, rounds=7)
            except Exception as error:  # the tile needs more than the GPU has
                print(f'  {tuple(block)}: {gpu.first_line(error)}', flush=True)
        old = Block(*row['block'])
        best = min(times, key=times.get)
        best = best if times[best] < WORTH * times[old] else old
        print(
            f'{row}: {tuple(best)} {times[best]:.1f} µs, before {times[old]:.1f}',
            flush=True,
        )
        yield row | dict(block=list(best))


def main(arguments: list[str] | None = None) -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--shapes', action='store_true')
    parser.add_argument('--tune', action='store_true')
    parser.add_argument(
        '--json', type=Path, help='write the times of the shapes to this file'
    )
    parser.add_argument('--out', type=Path, help='write the tuned table to this file')
    options = parser.parse_args(arguments)
    if not (options.shapes or options.tune):
        parser.error('choose --shapes, --tune or both')
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
        compile_all(rows)
        table[str(capability)] = list(tune(rows))
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
