"""Panels and colours that the figures share."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INCH = 1.5
# Ten colours that stay apart for most readers (Paul Tol's and Okabe-Ito's hues).
CLASS_COLOURS = [
    '#e6194b',
    '#f58231',
    '#ffe119',
    '#3cb44b',
    '#42d4f4',
    '#4363d8',
    '#911eb4',
    '#f032e6',
    '#fabed4',
    '#aaffc3',
]


def new_figure(
    rows: int,
    columns: int,
    title: str,
    above: float = 0.4,
    below: float = 0.4,
    gap: float = 0.06,
) -> tuple[Figure, np.ndarray]:
    """Make a figure of square panels without pyplot's global state.

    Args:
        rows: Rows of panels.
        columns: Columns of panels.
        title: Heading.
        above: Inches kept free above the panels, for the heading.
        below: Inches kept free below the panels.
        gap: Space between rows, as a share of a panel.

    Returns:
        The figure and its axes, (rows, columns).
    """
    height = INCH * (rows + gap * (rows - 1)) + above + below
    figure = Figure(figsize=(INCH * columns + 0.6, height), dpi=150)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.02,
        right=0.98,
        top=1 - above / height,
        bottom=below / height,
        wspace=0.06,
        hspace=gap,
    )
    figure.suptitle(title, fontsize=11, fontweight='bold', y=1 - 0.12 / height)
    for axis in axes.flat:
        blank(axis)
    return figure, axes


def blank(axis: Axes) -> None:
    """Remove ticks and frame of a panel."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def colour_of(label: int) -> str:
    """Return the colour ``'#rrggbb'`` of class 0, 1, ...; after ten they repeat."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]
