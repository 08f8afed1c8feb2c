"""Figure of a mixed batch: image, partner, mixed image and mask in each row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.analysis_tools.style import new_figure

TITLES = 'image', 'partner', 'mixed', 'mask'


def draw_batch(rows: Sequence[Any], path: Path, known: bool = True) -> None:
    """Draw the images of a mixed batch.

    Args:
        rows: :class:`mmtlalign.evaluation.mixed_batches.MixedImage`, one row each.
        path: Path of the PNG.
        known: Whether partners and masks are known; if not, only image and mixed
            image are drawn. Defaults to True.
    """
    columns = TITLES if known else ('image', 'mixed')
    figure, axes = new_figure(
        len(rows),
        len(columns),
        'Mixed batch' if known else 'Mixed batch (no record of the mask)',
        above=0.75,
        below=0.5,
        gap=0.24,
    )
    for line, row in zip(axes, rows):
        pictures = dict(image=row.own, partner=row.partner, mixed=row.mixed)
        panels = dict(zip(columns, line))
        for name, axis in panels.items():
            if name == 'mask':
                axis.imshow(row.mask, cmap='gray', vmin=0, vmax=1)
                axis.spines[:].set_visible(True)  # white masks, on white
            else:
                axis.imshow(pictures[name], interpolation='nearest')
        panels['image'].set_xlabel(f'class {row.classes[0]}', fontsize=8)
        panels['mixed'].set_xlabel(f'area {row.area:.1%}', fontsize=8)
        if known:
            panels['partner'].set_xlabel(f'class {row.classes[1]}', fontsize=8)
        if row.traced is not None:
            panels['mask'].set_xlabel(f'traced {row.traced:.1%}', fontsize=8)
    for axis, title in zip(axes[0], columns):
        axis.set_title(title, fontsize=8)
    figure.savefig(path)
