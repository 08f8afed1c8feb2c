"""Pictures of dense predictions beside the truth."""

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Rectangle

from tools.analysis_tools.style import colour_of, new_figure

IGNORED = 255
MOST_NAMED = 15


@dataclass(frozen=True)
class Instances:
    """Objects in one picture.

    Attributes:
        boxes (np.ndarray): (n, 4) in pixels: left, top, right, bottom.
        masks (np.ndarray): (n, H, W) bool.
        labels (np.ndarray): (n,) int.
        scores (np.ndarray | None): (n,) in 0 to 1, None for the truth.
    """

    boxes: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None


def overlay(picture, mask, colour, strength=0.65):
    """Tint the pixels of a mask.

    Args:
        picture (np.ndarray): (H, W, 3), 0 to 255.
        mask (np.ndarray): (H, W) bool.
        colour (str): As matplotlib names it.
        strength (float): 0 leaves the picture as it is, 1 covers it.

    Returns:
        np.ndarray: (H, W, 3) uint8; the input is left alone.
    """
    out = np.asarray(picture, np.float32).copy()
    tint = 255 * np.array(to_rgb(colour), np.float32)
    out[mask] = (1 - strength) * out[mask] + strength * tint
    return np.uint8(out.round())


def draw_segmentation(pictures, truths, predictions, classes, colours, path):
    """Draw pictures, their label maps, and the predicted ones.

    Args:
        pictures (list[np.ndarray]): (H, W, 3) uint8.
        truths (list[np.ndarray]): (H, W) int; 255 is ignored and stays uncoloured.
        predictions (list[np.ndarray]): (H, W) int.
        classes (Sequence[str]): Names.
        colours (Sequence): One for each class, as matplotlib reads it; None leaves a
            class, such as the background, uncoloured.
        path (str | Path): Where the PNG goes.
    """
    figure, axes = new_figure(3, len(pictures), 'Semantic segmentation')
    for column, picture in enumerate(pictures):
        axes[0, column].imshow(picture)
        for row, labels in ((1, truths[column]), (2, predictions[column])):
            shown = picture * 0.55
            for label in np.setdiff1d(labels, IGNORED):
                if colours[label] is not None:
                    shown = overlay(shown, labels == label, colours[label], 0.9)
            axes[row, column].imshow(np.uint8(shown))
    _name_rows(axes, ('image', 'truth', 'prediction'))
    labels = np.concatenate([np.ravel(m) for m in [*truths, *predictions]])
    _legend(figure, classes, colours, labels)
    figure.savefig(path)


def draw_detection(pictures, truths, predictions, classes, path):
    """Draw pictures with boxes and masks: the truth above, predictions below.

    Args:
        pictures (list[np.ndarray]): (H, W, 3) uint8.
        truths (list[Instances]): One entry a picture.
        predictions (list[Instances]): One entry a picture, with scores.
        classes (Sequence[str]): Names.
        path (str | Path): Where the PNG goes.
    """
    figure, axes = new_figure(2, len(pictures), 'Detection')
    for column, picture in enumerate(pictures):
        for row, found in ((0, truths[column]), (1, predictions[column])):
            _draw_instances(axes[row, column], picture, found, classes)
    _name_rows(axes, ('truth', 'prediction'))
    labels = np.concatenate([found.labels for found in [*truths, *predictions]])
    colours = [colour_of(label) for label in range(len(classes))]
    _legend(figure, classes, colours, labels)
    figure.savefig(path)


def _draw_instances(axis, picture, found, classes):
    shown = picture
    for mask, label in zip(found.masks, found.labels):
        shown = overlay(shown, mask, colour_of(label))
    axis.imshow(shown)
    for index, (left, top, right, bottom) in enumerate(found.boxes):
        colour = colour_of(found.labels[index])
        axis.add_patch(
            Rectangle(
                (left - 0.5, top - 0.5),
                right - left,
                bottom - top,
                fill=False,
                edgecolor=colour,
                linewidth=1.3,
            )
        )
        if found.scores is not None:
            axis.text(
                left,
                top - 1.5,
                f'{classes[found.labels[index]]} {found.scores[index]:.0%}',
                fontsize=5,
                color='black',
                va='bottom',
                bbox=dict(facecolor=colour, edgecolor='none', pad=0.8),
                clip_on=True,
            )


def _name_rows(axes, names):
    for line, name in zip(axes, names):
        line[0].set_ylabel(name, fontsize=9)


def _legend(figure, classes, colours, labels):
    """Name the classes that are to be seen; of many, the most frequent ones."""
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
