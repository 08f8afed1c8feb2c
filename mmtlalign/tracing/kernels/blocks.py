"""The tile sizes of the Triton kernels, from a table.

Autotuning at run time is not reproducible: its choice, and so the rounding, could
differ between runs and ranks. It also takes seconds in the first steps, and breaks the
capture of CUDA graphs. ``tools/benchmarks/measure_blocks.py`` measures the table on a
GPU; ``tests/tracing/test_share_blocks.py`` compiles every entry.
"""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import torch

LEAST_ROWS = 32  # fewest rows of a tile for a small batch
TABLE = Path(__file__).with_name('share_blocks.json')


class Block(NamedTuple):
    """Rows and columns of a tile, warps of a program, stages of its pipeline."""

    rows: int
    columns: int
    warps: int
    stages: int


class Case(NamedTuple):
    """Properties of a call that determine the tile of its kernel.

    Attributes:
        kernel: ``'propagate'``, ``'class_rows'``, ``'received'`` or
            ``'weigh_windows'``.
        bits: Bits of an element of queries and keys, or of weights.
        width: Channels of a head; for windows, their tokens.
        columns: Number of share columns.
        masked: Whether there is a mask.
        keys: Number of keys.
    """

    kernel: str
    bits: int
    width: int = 64
    columns: int = 1
    masked: bool = False
    keys: int = 1


class Kind(NamedTuple):
    """Properties of a call that a kernel is compiled and checked for.

    Attributes:
        tail: Padded number of keys after the last whole tile.
        slim: Whether the kernel for one column is called.
        windows: Arguments of windows.
    """

    name: str
    device: torch.device
    dtype: torch.dtype
    width: int
    columns: int
    mask: torch.dtype | None
    block: Block
    tail: int = 0
    slim: bool = False
    windows: tuple | None = None


@functools.cache
def read_table(path: Path = TABLE) -> dict[int, list[dict]]:
    """Read the rows of the table, by ten times the compute capability of a GPU."""
    table = json.loads(path.read_text(encoding='utf-8'))
    return {int(capability): rows for capability, rows in table.items()}


def find_block(case: Case, capability: int) -> Block | None:
    """Return the tile of the first row of the table that fits a case, or None.

    Args:
        case: Properties of the call.
        capability: Ten times the compute capability of the GPU; the next lower one in
            the table is used.
    """
    table = read_table()
    rows = table[max((c for c in table if c <= capability), default=min(table))]
    return next((Block(*row['block']) for row in rows if fits(case, row)), None)


def fits(case: Case, row: dict) -> bool:
    """Return whether a row of the table fits a case; its numbers are upper limits."""
    return (
        row['kernel'] == case.kernel
        and row.get('bits', case.bits) == case.bits
        and row.get('masked', case.masked) == case.masked
        and case.width <= row.get('width', case.width)
        and case.columns <= row.get('columns', case.columns)
        and case.keys <= row.get('keys', case.keys)
    )


def fewer_rows(block: Block, batch: int, queries: int, processors: int) -> Block:
    """Halve the rows of a tile until there are two programs per multiprocessor.

    Args:
        block: Tile.
        batch: Number of images.
        queries: Number of queries of an image.
        processors: Number of multiprocessors of the GPU.
    """
    rows = block.rows
    while rows > LEAST_ROWS and batch * -(-queries // rows) < 2 * processors:
        rows //= 2
    return (
        block
        if rows == block.rows
        else block._replace(rows=rows, columns=min(block.columns, 64))
    )


def describe(kind: Kind) -> str:
    """Return a kind in words."""
    words = [str(kind.dtype).removeprefix('torch.'), f'width {kind.width}']
    words += [f'{kind.columns} columns'] if kind.columns > 1 else []
    words += [f'mask {kind.mask}'] if kind.mask else []
    return ', '.join(words) + f', tile {tuple(kind.block)}, tail {kind.tail}'
