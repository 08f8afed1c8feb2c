"""The tiles of the Triton kernels: a table, as tuning at run time is not repeatable.

It would choose otherwise from run to run and from rank to rank, and so round otherwise,
take seconds of the first steps, and break the capture of CUDA graphs.
``tools/benchmarks/measure_blocks.py`` measures the table on a GPU;
``tests/tracing/test_share_blocks.py`` compiles every entry.
"""

import functools
import json
from pathlib import Path
from typing import NamedTuple

LEAST_ROWS = 32  # of a tile for a small batch
TABLE = Path(__file__).with_name('share_blocks.json')


class Block(NamedTuple):
    """Rows and columns of a tile, warps of a program, stages of its pipeline."""

    rows: int
    columns: int
    warps: int
    stages: int


class Case(NamedTuple):
    """What the tile of a kernel depends on.

    Attributes:
        kernel: ``'propagate'``, ``'class_rows'``, ``'received'`` or
            ``'weigh_windows'``.
        bits: Of an element of queries and keys, or of weights.
        width: Channels of a head; tokens of a window.
        columns: Of the share.
        masked: Whether there is a mask.
        keys: Number of keys.
    """

    kernel: str
    bits: int
    width: int = 64
    columns: int = 1
    masked: bool = False
    keys: int = 1


@functools.cache
def read_table(path: Path = TABLE) -> dict[int, list[dict]]:
    """Read the rows of the table, by the capability of a GPU times ten."""
    table = json.loads(path.read_text(encoding='utf-8'))
    return {int(capability): rows for capability, rows in table.items()}


def find_block(case: Case, capability: int) -> Block | None:
    """Return the tile of a case: the first row of the table that it fits into, if any.

    Args:
        case: Case.
        capability: Of the GPU, times ten; the next lower one of the table counts.
    """
    table = read_table()
    rows = table[max((c for c in table if c <= capability), default=min(table))]
    return next((Block(*row['block']) for row in rows if fits(case, row)), None)


def fits(case: Case, row: dict) -> bool:
    """Return whether a row of the table, whose numbers are limits, is for a case."""
    return (
        row['kernel'] == case.kernel
        and row.get('bits', case.bits) == case.bits
        and row.get('masked', case.masked) == case.masked
        and case.width <= row.get('width', case.width)
        and case.columns <= row.get('columns', case.columns)
        and case.keys <= row.get('keys', case.keys)
    )


def fewer_rows(block: Block, batch: int, queries: int, processors: int) -> Block:
    """Halve the rows of a tile until a GPU has two programs for each processor.

    Args:
        block: Tile.
        batch: Images.
        queries: Of an image.
        processors: Multiprocessors of the GPU.
    """
    rows = block.rows
    while rows > LEAST_ROWS and batch * -(-queries // rows) < 2 * processors:
        rows //= 2
    return (
        block
        if rows == block.rows
        else block._replace(rows=rows, columns=min(block.columns, 64))
    )
