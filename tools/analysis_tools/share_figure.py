"""Figure of TL-Align's shares of the partner image after every layer."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.analysis_tools.style import new_figure


@dataclass(frozen=True)
class ShareRow:
    """One mixed image and its traced shares.

    Attributes:
        own: (H, W, 3) uint8.
        partner: (H, W, 3) uint8.
        mixed: (H, W, 3) uint8.
        area: Share of the partner by area, 0 to 1.
        maps: Share after each layer, (h, w), 0 to 1.
        arrived: Share that the head trains on, 0 to 1.
    """

    own: np.ndarray
    partner: np.ndarray
    mixed: np.ndarray
    area: float
    maps: list[np.ndarray]
    arrived: float


def draw_shares(rows: list[ShareRow], layers: list[str], path: str | Path) -> None:
    """Draw mixed images beside the partner's share in every layer.

    Args:
        rows: One row of panels each.
        layers: Names of the layers, one for each map.
        path: Path of the PNG.

    Raises:
        ValueError: A row has more or fewer maps than there are names.
    """
    for row in rows:
        if len(row.maps) != len(layers):
            raise ValueError(
                f'{len(row.maps)} maps for {len(layers)} layer names: give one name '
                'per map'
            )
    titles = ['image', 'partner', 'mixed', *layers]
    figure, axes = new_figure(
        len(rows),
        len(titles),
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
            shown = axis.imshow(share, cmap='magma', vmin=0, vmax=1)
        line[-1].set_xlabel(f'{row.arrived:.0%} arrive', fontsize=8)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=8)
    height = figure.get_figheight()
    bar = figure.colorbar(
        shown,
        cax=figure.add_axes((0.35, 0.42 / height, 0.3, 0.12 / height)),
        orientation='horizontal',
    )
    bar.set_label('share of the partner image', fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.savefig(path)
