"""A picture of labels on their way: the partner's share after every layer."""

from dataclasses import dataclass

import numpy as np

from tools.analysis_tools.style import new_figure

CMAP = 'magma'


@dataclass(frozen=True)
class ShareRow:
    """One mixed image and what tracing found.

    Attributes:
        own (np.ndarray): (H, W, 3) uint8.
        partner (np.ndarray): (H, W, 3) uint8.
        mixed (np.ndarray): (H, W, 3) uint8.
        area (float): Share of the partner by area, 0 to 1.
        maps (list[np.ndarray]): Share after each layer, (h, w), 0 to 1.
        arrived (float): Share that the head trains on, 0 to 1.
    """

    own: np.ndarray
    partner: np.ndarray
    mixed: np.ndarray
    area: float
    maps: list
    arrived: float


def draw_shares(rows, layers, path):
    """Draw mixed images beside the partner's share in every layer.

    Args:
        rows (list[ShareRow]): One line of panels each.
        layers (list[str]): Names of the layers, one a map.
        path (str | Path): Where the PNG goes.

    Raises:
        ValueError: If a row has more or fewer maps than there are names.
    """
    for row in rows:
        if len(row.maps) != len(layers):
            raise ValueError(
                f'{len(row.maps)} maps for {len(layers)} layer names: give one each'
            )
    heads = ['image', 'partner', 'mixed', *layers]
    figure, axes = new_figure(
        len(rows),
        len(heads),
        'Share of the partner image in every token, layer by layer',
        above=0.75,
        below=0.9,
        gap=0.2,
    )
    for line, row in zip(axes, rows):
        for axis, picture in zip(line, (row.own, row.partner, row.mixed)):
            axis.imshow(picture, interpolation='nearest')
        line[2].set_xlabel(f'{row.area:.0%} by area', fontsize=8)
        for axis, share in zip(line[3:], row.maps):
            shown = axis.imshow(share, cmap=CMAP, vmin=0, vmax=1)
        line[-1].set_xlabel(f'{row.arrived:.0%} arrive', fontsize=8)
    for axis, head in zip(axes[0], heads):
        axis.set_title(head, fontsize=8)
    height = figure.get_figheight()
    bar = figure.colorbar(
        shown,
        cax=figure.add_axes((0.35, 0.42 / height, 0.3, 0.12 / height)),
        orientation='horizontal',
    )
    bar.set_label('share of the partner image', fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.savefig(path)
