"""The figure of a plan's units: difference of each start to the control."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmtlalign.errors import InputError
from tools.experiments.plan import Plan
from tools.experiments.unit_table import (
    check_headlines,
    differences_of,
    paired_interval,
    pairs_with_control,
)

COLOUR, PALE = '#2f5d8a', '#9db8d2'
# Panels side by side.
ACROSS = 3
# An interval of fewer differences is too wide to be drawn.
PAIRS = 3


def draw_differences(plan: Plan, units: Sequence[Mapping], path: Path) -> None:
    """Draw the differences to the control of the same seed, a panel a headline.

    A pale dot is a seed, a dark one the mean, a line the t interval of 95 %.

    Args:
        plan: Names starts, control and headlines.
        units: Contents of the files of units.
        path: PNG or SVG file.

    Raises:
        InputError: The plan has no headlines, or no unit can be compared.
    """
    if not plan.headlines:
        raise InputError(
            'The plan has no headlines, which select the columns of the figure. Add '
            "headlines={'top-1 %': 'accuracy'}."
        )
    check_headlines(plan, units)
    pairs = {
        key: pairs_with_control(units, key, plan.control)[0] for key in plan.starts
    }
    # Random weights are in the table, and so far off that they would hide the rest.
    rows = [
        key
        for key, start in plan.starts.items()
        if key != plan.control and pairs[key] and (start.config or start.checkpoint)
    ]
    if not rows:
        raise InputError(
            f'There are no units of the control {plan.control!r} and of another start '
            'with the same seed and version, so there is nothing to compare. Run more '
            'units.'
        )
    across = min(len(plan.headlines), ACROSS)
    down = -(-len(plan.headlines) // across)
    size = 1.4 + 1.75 * across, down * (0.24 * len(rows) + 0.75) + 0.25
    figure = Figure(figsize=size, dpi=150, layout='constrained')
    panels = figure.subplots(down, across, sharey=True, squeeze=False)
    for axis, (column, title) in zip(panels.flat, plan.headlines.items()):
        _frame(axis, title)
        for place, key in enumerate(rows):
            _draw_row(axis, -place, differences_of(pairs[key], column))
    for axis in panels.flat[len(plan.headlines) :]:
        axis.set_visible(False)
    for axis in panels[:, 0]:
        axis.set_yticks([-n for n in range(len(rows))])
        axis.set_yticklabels([plan.starts[key].title for key in rows], fontsize=8)
        axis.set_ylim(0.6 - len(rows), 0.6)
    control = plan.starts[plan.control].title
    figure.supxlabel(f'points more than {control}', fontsize=8)
    figure.savefig(path)


def _frame(axis: Axes, title: str) -> None:
    axis.axvline(0, color='0.4', linewidth=0.8)
    axis.set_title(title, fontsize=8)
    axis.tick_params(axis='x', labelsize=7)
    axis.tick_params(axis='y', length=0)
    axis.spines[['top', 'right', 'left']].set_visible(False)
    axis.grid(axis='x', color='0.9', linewidth=0.6)
    axis.set_axisbelow(True)


def _draw_row(axis: Axes, place: float, found: Sequence[float]) -> None:
    if not found:
        return
    axis.plot(found, [place] * len(found), 'o', color=PALE, markersize=3)
    middle = paired_interval(found)
    if middle.n >= PAIRS:
        axis.plot([middle.low, middle.high], [place] * 2, color=COLOUR, linewidth=1.4)
    axis.plot(middle.mean, place, 'o', color=COLOUR, markersize=5)
