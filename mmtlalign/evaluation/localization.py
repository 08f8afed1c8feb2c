"""Comparison of attention maps with object masks and boxes.

The Jaccard index follows Naseer et al. (NeurIPS 2021); TransMix (CVPR 2022, §4.3) names
only metric and data set. Boxes from masks are TransMix's idea; it does not state
threshold and overlap, so the rules here are ours.

Shapes: ``H`` heads, ``h, w`` token grid, ``height, width`` pixels. Boxes are ``x0, y0,
x1, y1`` in pixels, ends exclusive.
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from mmtlalign.errors import InputError
from mmtlalign.evaluation.occlusion import mass_patches

VOID = 255


def foreground(maps: Tensor, mass: float) -> Tensor:
    """Return the smallest set of strongest tokens with a given share of the attention.

    Args:
        maps: Attention (..., h, w), not negative.
        mass: Share of each map's sum, 0 to 1; see :func:`mass_patches`.

    Returns:
        (..., h, w) bool.
    """
    return mass_patches(maps.reshape(-1, *maps.shape[-2:]), mass).view(maps.shape)


def to_pixels(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge masks (..., h, w) to (..., height, width) by nearest neighbour."""
    places = [np.arange(s) * g // s for s, g in zip(size, masks.shape[-2:])]
    return masks[..., places[0][:, None], places[1]]


class MaskScores(NamedTuple):
    """Jaccard indices of one image, 0 to 1; NaN without object.

    Attributes:
        best_head: Mean over classes of the index of the head that fits the class best.
            The head is chosen with the ground truth, as in the papers (an oracle).
        head_mean: Mean over classes of the index of the mask from the mean over heads.
        foreground: Index of that mask with the union of all objects.
    """

    best_head: float
    head_mean: float
    foreground: float


def mask_jaccard(
    maps: Tensor, labels: np.ndarray, mass: float = 0.9, official: bool = False
) -> MaskScores:
    """Compare attention maps with a map of labels.

    Args:
        maps: (H, h, w), not negative.
        labels: (height, width): 0 background, 255 void, else the class.
        mass: Share of the attention inside a mask. Defaults to 0.9 as in Naseer et al.;
            DINO uses 0.6.
        official: Count void pixels as errors, as the official code does by mistake
            (its test for void is always true). Defaults to False: they are left out.

    Raises:
        InputError: The shapes do not fit, or a map has no mass.
    """
    labels = np.asarray(labels)
    if maps.ndim != 3 or labels.ndim != 2:
        raise InputError(
            f'Maps of shape {tuple(maps.shape)} and labels of shape {labels.shape}: '
            'give the maps of one image (heads, h, w) and its label map (height, '
            'width).'
        )
    classes = np.setdiff1d(labels, (0, VOID))
    if not len(classes):
        return MaskScores(*[float('nan')] * 3)
    every = torch.cat([maps, maps.mean(dim=0, keepdim=True)]).cpu()
    masks = to_pixels(foreground(every, mass).numpy(), labels.shape)
    counted = np.ones_like(labels, bool) if official else labels != VOID
    truths = [labels == one for one in classes]
    found = np.array([[jaccard(m, t, counted) for m in masks] for t in truths])
    whole = (labels != 0) & (labels != VOID)
    return MaskScores(
        float(found[:, :-1].max(axis=1).mean()),
        float(found[:, -1].mean()),
        jaccard(masks[-1], whole, counted),
    )


def jaccard(mask: np.ndarray, truth: np.ndarray, counted: np.ndarray) -> float:
    """Return intersection over union of two masks over counted pixels, NaN if empty."""
    union = ((mask | truth) & counted).sum()
    return float((mask & truth & counted).sum() / union) if union else float('nan')


def mask_box(mask: np.ndarray, largest: bool = True) -> np.ndarray:
    """Return the tight box (4,) of a mask, zeros for an empty one.

    Args:
        mask: (height, width) bool.
        largest: Use only the largest 8-connected component (of equals the first one,
            row by row); else the whole mask.
    """
    mask = np.asarray(mask, np.uint8)
    if largest:
        count, numbers, figures, _ = cv2.connectedComponentsWithStats(
            mask, connectivity=8
        )
        if count > 1:
            mask = numbers == 1 + figures[1:, cv2.CC_STAT_AREA].argmax()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros(4, np.int64)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def box_iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return intersection over union of a box (4,) with boxes (n, 4), (n,)."""
    box, boxes = np.asarray(box, float), np.asarray(boxes, float).reshape(-1, 4)
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = (high - low).clip(min=0).prod(axis=1)
    sizes = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + sizes - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def map_box(maps: Tensor, size: tuple[int, int], mass: float = 0.6) -> np.ndarray:
    """Return the box (4,) of an image's attention.

    It encloses the largest component of the mask from the mean over heads, enlarged to
    pixels by nearest neighbour (a rule of ours).

    Args:
        maps: (H, h, w).
        size: Height and width in pixels.
        mass: Share of the attention inside the mask.
    """
    mask = foreground(maps.mean(dim=0), mass).cpu().numpy()
    return mask_box(to_pixels(mask, size))


def is_located(box: np.ndarray, truths: np.ndarray, overlap: float = 0.5) -> bool:
    """Return whether a box overlaps any true box enough (``gt_known_loc``).

    Args:
        box: (4,).
        truths: True boxes (n, 4).
        overlap: Smallest intersection over union.
    """
    return bool((box_iou(box, truths) >= overlap).any())
