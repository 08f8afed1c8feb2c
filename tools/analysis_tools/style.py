"""What the figures have in common."""

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


def new_figure(rows, columns, title, above=0.4, below=0.4, gap=0.06):
    """Make a figure of square panels without pyplot's global state.

    Args:
        rows (int): Rows of panels.
        columns (int): Columns of panels.
        title (str): Heading.
        above (float): Inches kept free above the panels, for the heading.
        below (float): Inches kept free below the panels.
        gap (float): Space between rows, as a share of a panel.

    Returns:
        tuple[Figure, np.ndarray]: The figure and its axes, (rows, columns).
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


def blank(axis):
    """Take ticks and frame off a panel."""
    axis.set_xticks([])
    axis.set_yticks([])
    for side in axis.spines.values():
        side.set_visible(False)


def colour_of(label):
    """Colour of a class.

    Args:
        label (int): 0, 1, ...; after ten classes the colours repeat.

    Returns:
        str: As ``'#rrggbb'``.
    """
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]
