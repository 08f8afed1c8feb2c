"""Plot of a benchmark: ratios of each case, and how cost grows with length."""

from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.benchmarks.step.variants import VARIANTS

COLOURS = dict(
    mmpretrain='#000000',
    timm='#7f7f7f',
    control='#0072b2',
    transmix='#e69f00',
    tlalign='#009e73',
    dense='#d55e00',
    ema='#56b4e9',
)
# Fields in which the cases of one model differ.
SETTING = ('tokens', 'measure', 'precision', 'attention', 'threads')


def draw(rows: list[dict], path: str | Path, clock: str = 'work') -> None:
    """Draw the rows of :func:`measure` into a file.

    Args:
        rows: At least one.
        path: PNG file.
        clock: ``'work'`` or ``'wall'``.
    """
    grown = _grown(rows)
    panels = 1 + len(grown)
    height = max(2.6, 1.4 + 0.5 * len(rows))
    figure = Figure(figsize=(7 + 4.5 * len(grown), height), dpi=150)
    figure.set_layout_engine('constrained')
    widths = [1.5] + [1] * len(grown)
    axes = figure.subplots(1, panels, squeeze=False, width_ratios=widths)[0]
    _ratios(axes[0], rows)
    for axis, (name, group) in zip(axes[1:], grown.items()):
        _growth(axis, name, group, 'seconds' if clock == 'work' else 'wall')
    names = dict(loc='outside upper center', ncols=3, fontsize='small')
    figure.legend(*axes[0].get_legend_handles_labels(), **names)
    figure.savefig(path)


def _varying(rows: list[dict]) -> list[str]:
    return [key for key in SETTING if len({row[key] for row in rows}) > 1]


def _names(rows: list[dict], leave_out: str | None = None) -> list[str]:
    """Return the model of each row, with the fields that distinguish it."""
    keys = [key for key in _varying(rows) if key != leave_out]
    unit = dict(tokens=' tokens', threads=' threads')
    return [
        ', '.join(
            [row['model'], *(f'{row[k]}{unit.get(k, "")}' for k in keys if row[k])]
        )
        for row in rows
    ]


def _ratios(axis: Axes, rows: list[dict]) -> None:
    """Draw a dot for the median and a bar between the quartiles, case by case."""
    shown = [v for v in VARIANTS if any(v in row['ratios'] for row in rows)]
    for place, variant in enumerate(shown):
        found = [(i, row['ratios'].get(variant)) for i, row in enumerate(rows)]
        found = [(i, ratio) for i, ratio in found if ratio]
        middle = [ratio['median'] for _, ratio in found]
        axis.errorbar(
            middle,
            [i + 0.7 * (place + 0.5) / len(shown) - 0.35 for i, _ in found],
            xerr=[
                [ratio['median'] - ratio['low'] for _, ratio in found],
                [ratio['high'] - ratio['median'] for _, ratio in found],
            ],
            fmt='o',
            markersize=4,
            capsize=2,
            color=COLOURS[variant],
            label=VARIANTS[variant],
        )
    axis.set_yticks(range(len(rows)), _names(rows))
    axis.invert_yaxis()
    axis.axvline(1, color='#bbbbbb', linewidth=1, zorder=0)
    axis.set_xlabel('time, as a ratio to the faster plain CutMix')


def _grown(rows: list[dict]) -> dict[str, list[dict]]:
    """Group rows that differ only in their length, by name; drop single rows."""
    groups = {}
    for name, row in zip(_names(rows, leave_out='tokens'), rows):
        groups.setdefault(name, []).append(row)
    return {name: group for name, group in groups.items() if len(group) > 1}


def _growth(axis: Axes, name: str, rows: list[dict], times: str) -> None:
    """Draw the time of an image over the number of tokens."""
    for variant in VARIANTS:
        found = sorted(
            (row['tokens'], 1e3 * median(row[times][variant]) / row['batch'])
            for row in rows
            if variant in row[times]
        )
        if found:
            axis.loglog(
                *zip(*found), 'o-', color=COLOURS[variant], label=VARIANTS[variant]
            )
    axis.set_title(name, fontsize='medium')
    axis.set_xticks(*[[row['tokens'] for row in rows]] * 2)
    axis.minorticks_off()
    axis.set_xlabel('tokens')
    axis.set_ylabel('ms an image')
