"""Figures of dense predictions beside the ground truth, one column per picture.

mmdet's ``DetLocalVisualizer`` is not used: it jitters the colours of masks, so that
truth and prediction of one class differ and no legend fits, and it draws at the
resolution of the picture, so that on small pictures names cover the objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.typing import ColorType

from tools.analysis_tools.style import colour_of, new_figure

IGNORED = 255
MOST_NAMED = 15


@dataclass(frozen=True)
class Instances:
    """Objects in one picture.

    Attributes:
        boxes: (n, 4) in pixels: left, top, right, bottom.
        masks: (n, H, W) bool.
        labels: (n,) int.
        scores: (n,) in 0 to 1, None for the truth.
    """

    boxes: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None


def overlay(
    picture: np.ndarray, mask: np.ndarray, colour: ColorType, strength: float = 0.65
) -> np.ndarray:
    """Tint the pixels of a mask.

    Args:
        picture: (H, W, 3), 0 to 255.
        mask: (H, W) bool.
        colour: A colour of matplotlib.
        strength: 0 leaves the picture as it is, 1 covers it.

    Returns:
        (H, W, 3) uint8; the input is left alone.
    """
    out = np.asarray(picture, np.float32).copy()
    tint = 255 * np.array(to_rgb(colour), np.float32)
    out[mask] = (1 - strength) * out[mask] + strength * tint
    return np.uint8(out.round())


def draw_segmentation(
    pictures: list[np.ndarray],
    truths: list[np.ndarray],
    predictions: list[np.ndarray],
    classes: Sequence[str],
    colours: Sequence[ColorType | None],
    path: str | Path,
) -> None:
    """Draw pictures, their label maps, and the predicted ones.

    Args:
        pictures: (H, W, 3) uint8.
        truths: (H, W) int; 255 is ignored and stays uncoloured.
        predictions: (H, W) int.
        classes: Names.
        colours: One for each class; None leaves a class, such as the background,
            uncoloured.
        path: Where the PNG goes.
    """
    figure, axes = new_figure(3, len(pictures), 'Semantic segmentation')
    for column, picture in zip(axes.T, pictures):
        column[0].imshow(picture)
    for row, label_maps in ((axes[1], truths), (axes[2], predictions)):
        for axis, picture, labels in zip(row, pictures, label_maps):
            shown = picture * 0.55
            for label in np.setdiff1d(labels, IGNORED):
                if colours[label] is not None:
                    shown = overlay(shown, labels == label, colours[label], 0.9)
            axis.imshow(np.uint8(shown))
    _name_rows(axes, ('image', 'truth', 'prediction'))
    labels = np.concatenate([np.ravel(m) for m in [*truths, *predictions]])
    _legend(figure, classes, colours, labels)
    figure.savefig(path)


def draw_detection(
    pictures: list[np.ndarray],
    truths: list[Instances],
    predictions: list[Instances],
    classes: Sequence[str],
    path: str | Path,
) -> None:
    """Draw pictures with boxes and masks: the truth above, predictions below.

    Args:
        pictures: (H, W, 3) uint8.
        truths: One entry per picture.
        predictions: One entry per picture, with scores.
        classes: Names of the classes.
        path: Path of the PNG.
    """
    figure, axes = new_figure(2, len(pictures), 'Detection')
    for row, instances in zip(axes, (truths, predictions)):
        for axis, picture, objects in zip(row, pictures, instances):
            _draw_instances(axis, picture, objects, classes)
    _name_rows(axes, ('truth', 'prediction'))
    labels = np.concatenate([objects.labels for objects in [*truths, *predictions]])
    colours = [colour_of(label) for label in range(len(classes))]
    _legend(figure, classes, colours, labels)
    figure.savefig(path)


def _draw_instances(
    axis: Axes, picture: np.ndarray, objects: Instances, classes: Sequence[str]
) -> None:
    for mask, label in zip(objects.masks, objects.labels):
        picture = overlay(picture, mask, colour_of(label))
    axis.imshow(picture)
    for index, (left, top, right, bottom) in enumerate(objects.boxes):
        colour = colour_of(objects.labels[index])
        corner = (left - 0.5, top - 0.5)
        size = (right - left, bottom - top)
        frame = Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=1.3)
        axis.add_patch(frame)
        if objects.scores is not None:
            axis.text(
                left,
                top - 1.5,
                f'{classes[objects.labels[index]]} {objects.scores[index]:.0%}',
                fontsize=5,
                color='black',
                va='bottom',
                bbox=dict(facecolor=colour, edgecolor='none', pad=0.8),
                clip_on=True,
            )


def _name_rows(axes: np.ndarray, names: Sequence[str]) -> None:
    for line, name in zip(axes, names):
        line[0].set_ylabel(name, fontsize=9)


def _legend(
    figure: Figure,
    classes: Sequence[str],
    colours: Sequence[ColorType | None],
    labels: np.ndarray,
) -> None:
    """Add a legend of the classes that occur; of many, the most frequent ones."""
    labels = np.asarray(labels, int)
    found, times = np.unique(labels[labels < len(classes)], return_counts=True)
    shown = sorted(found[np.argsort(-times)][:MOST_NAMED])
    figure.subplots_adjust(left=0.035)
    figure.legend(
        handles=[
            Patch(color=colours[i], label=classes[i])
            for i in shown
            if colours[i] is not None
        ],
        loc='lower center',
        ncols=len(shown) if len(shown) * 0.75 < figure.get_figwidth() else 5,
        fontsize=8,
        frameon=False,
        handlelength=1,
        columnspacing=1.2,
    )
