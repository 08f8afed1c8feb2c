"""Tables of the benchmark, with one row per case."""

from collections.abc import Iterable, Iterator
from statistics import median

from tools.benchmarks import timing
from tools.benchmarks.step.variants import VARIANTS


def print_times(rows: Iterable[dict], variants: list[str], clock: str) -> None:
    """Print the times of a step, each row as soon as it is measured.

    Args:
        rows: Results of :func:`measure`; may be a generator.
        variants: Names of the columns.
        clock: ``'work'`` or ``'wall'``.
    """
    names = [VARIANTS[variant] for variant in variants]
    timing.print_table(
        'Time, as a ratio to the reference: the faster plain CutMix of the row',
        (*HEADINGS, 'reference', 'ms', *names),
        _lines(rows, variants, 'seconds' if clock == 'work' else 'wall'),
    )


def print_peaks(rows: list[dict], variants: list[str]) -> None:
    """Print the peak memory of a step, beyond parameters, their state and images."""
    names = [VARIANTS[variant] for variant in variants]
    timing.print_table(
        'Peak memory of one step, as a ratio to the same reference',
        (*HEADINGS, 'reference', 'MiB', *names),
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


def print_operations(rows: list[dict], most: int = 16) -> None:
    """Print where the time goes: for each case the operations that take the most.

    Args:
        rows: Results of :func:`measure`.
        most: Number of operations in a table; one more row has the sum of the others.
    """
    for row in rows:
        found = list(row['operations'].values())
        worst = {}
        for times in found:
            for key, seconds in times.items():
                worst[key] = max(worst.get(key, 0.0), seconds)
        shown = sorted(worst, key=worst.get, reverse=True)[:most]
        lines = {key: [times.get(key, 0.0) for times in found] for key in shown}
        sums = [sum(times.values()) for times in found]
        lines['all others'] = [a - sum(b) for a, b in zip(sums, zip(*lines.values()))]
        setting = (f'{k} {v}' for k, v in zip(HEADINGS, _setting(row)))
        timing.print_table(
            f'ms of single operations, profiled: {", ".join(setting)}',
            ('operation', *(VARIANTS[variant] for variant in row['operations'])),
            [
                [key, *(f'{1e3 * seconds:,.1f}' for seconds in times)]
                for key, times in [*lines.items(), ('sum', sums)]
            ],
        )


def print_waits(rows: list[dict]) -> None:
    """Print which variants wait for the GPU, and the first place where they do."""
    timing.print_table(
        'Waiting for the GPU',
        (*HEADINGS, 'variant', 'waits at'),
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
HEADINGS = tuple('pixels' if key == 'size' else key for key in KEYS)


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
