"""The tables of the benchmark, a line a case."""

from collections.abc import Iterable, Iterator
from statistics import median

from mmtlalign.analysis.benchmark.variants import VARIANTS
from mmtlalign.engine import timing

__all__ = ['print_peaks', 'print_times', 'print_waits']


def print_times(rows: Iterable[dict], variants: list[str], clock: str) -> None:
    """Print what a step takes, each line as soon as its row is there.

    Args:
        rows: As of :func:`measure`; may be a generator.
        variants: Names of the columns.
        clock: ``'work'`` or ``'wall'``.
    """
    names = [VARIANTS[variant] for variant in variants]
    timing.table(
        'Time, as a ratio to the reference: the faster plain CutMix of the row',
        (*HEADS, 'reference', 'ms', *names),
        _lines(rows, variants, 'seconds' if clock == 'work' else 'wall'),
    )


def print_peaks(rows: list[dict], variants: list[str]) -> None:
    """Print what a step holds at most, beyond parameters, their state and images."""
    names = [VARIANTS[variant] for variant in variants]
    timing.table(
        'Peak memory of one step, as a ratio to the same reference',
        (*HEADS, 'reference', 'MiB', *names),
        [
            [
                *_setting(row),
                row['reference'],
                f'{row["peak_bytes"][row["reference"]] / 2**20:,.1f}',
                *(_number(row['peak_ratios'].get(variant)) for variant in variants),
            ]
            for row in rows
        ],
    )


def print_waits(rows: list[dict]) -> None:
    """Print who waits for the GPU, and where first."""
    timing.table(
        'Waiting for the GPU',
        (*HEADS, 'variant', 'waits at'),
        [
            [*_setting(row), VARIANTS[variant], place or 'nothing']
            for row in rows
            for variant, place in row['waits'].items()
        ],
    )


KEYS = (
    *('model', 'size', 'tokens', 'batch'),
    *('measure', 'precision', 'attention', 'threads'),
)
HEADS = tuple('pixels' if key == 'size' else key for key in KEYS)


def _setting(row: dict) -> list[str]:
    return ['–' if row[key] is None else str(row[key]) for key in KEYS]


def _number(value: float | None) -> str:
    return '–' if value is None else f'{value:.3f}'


def _lines(rows: Iterable[dict], variants: list[str], times: str) -> Iterator[list]:
    for row in rows:
        reference = row['reference']
        cells = [
            timing.cell(row['ratios'][v], digits=3) if v in row['ratios'] else '–'
            for v in variants
        ]
        if reference in variants:
            cells[variants.index(reference)] = '1'
        milliseconds = f'{1e3 * median(row[times][reference]):,.1f}'
        yield [*_setting(row), reference, milliseconds, *cells]
