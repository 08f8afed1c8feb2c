"""The label map of an image, and its flips, crops, affine transforms and pooling.

A map covers the whole original image, cell by cell; a box ``(4,)`` has the top, left,
height and width of the visible part, as fractions of the whole.

Shapes: ``B`` images, ``K`` classes, ``k`` classes that a cell names, ``h, w`` cells,
``S`` cells of a pooled grid.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

from mmtlalign.errors import InputError

# Far above any other logit, so that a softmax gives this class all mass; the largest
# float16 is 65504.
CERTAIN = 30000.0
FLIPPED_AXES = dict(horizontal=(-1,), vertical=(-2,), diagonal=(-2, -1))


class LabelMap(NamedTuple):
    """The k largest logits of an annotator in each cell, and their classes.

    Attributes:
        values: Logits, no softmax, (k, h, w) float16, falling along k.
        indices: Their classes, (k, h, w) int16 or int32.
    """

    values: np.ndarray
    indices: np.ndarray

    def dense(self, num_classes: int) -> np.ndarray:
        """Return the logits of all classes (K, h, w) float32, absent ones 0."""
        full = np.zeros((num_classes, *self.values.shape[1:]), np.float32)
        rows, columns = np.ogrid[: full.shape[1], : full.shape[2]]
        for values, indices in zip(*self):
            # Added, not set: an unused rank repeats a class with value 0.
            full[indices, rows, columns] += values
        return full


def index_dtype(num_classes: int) -> np.dtype:
    """Return the smaller of int16 and int32 that holds the classes.

    float16, which the official files use, is exact up to 2048 only.
    """
    return np.dtype('<i2' if num_classes <= 2**15 else '<i4')


def hard_label_map(
    label: int, shape: tuple[int, int, int], dtype: np.dtype | type = np.int32
) -> LabelMap:
    """Return a map with a single class in all cells.

    Args:
        label: The class.
        shape: Shape (k, h, w) of the other maps.
        dtype: Type of their indices.
    """
    # The other ranks have class 0 with value 0, which adds nothing.
    values, indices = np.zeros(shape, np.float16), np.zeros(shape, dtype)
    values[0], indices[0] = CERTAIN, label
    return LabelMap(values, indices)


def flip_map(label_map: LabelMap, direction: str) -> LabelMap:
    """Flip ``'horizontal'`` (columns), ``'vertical'`` (rows) or ``'diagonal'``."""
    axes = FLIPPED_AXES[direction]
    return LabelMap(*(np.flip(plane, axes).copy() for plane in label_map))


def flip_box(box: np.ndarray, direction: str) -> np.ndarray:
    """Return the box (4,) of an image that is flipped after it was cropped.

    Args:
        box: Visible part before the flip (4,).
        direction: ``'horizontal'``, ``'vertical'`` or ``'diagonal'`` (both).
    """
    top, left, height, width = box
    if direction in ('vertical', 'diagonal'):
        top = 1 - top - height
    if direction in ('horizontal', 'diagonal'):
        left = 1 - left - width
    return np.array([top, left, height, width], np.float32)


def crop_box(
    box: np.ndarray, crop: tuple[int, int, int, int], size: tuple[int, int]
) -> np.ndarray:
    """Return the box (4,) float32 that remains after a crop.

    Args:
        box: Visible part before the crop (4,).
        crop: Top, left, height and width in pixels of the image.
        size: Rows and columns of the image in pixels.
    """
    top, left, height, width = (
        pixels / side for pixels, side in zip(crop, (*size, *size))
    )
    return np.array(
        [
            box[0] + top * box[2],
            box[1] + left * box[3],
            height * box[2],
            width * box[3],
        ],
        np.float32,
    )


def affine_map(
    label_map: LabelMap, matrix: np.ndarray, size: tuple[int, int]
) -> LabelMap:
    """Transform a map as an affine matrix transforms its image.

    Cells that come from outside get value 0, as absent classes do, and the class of
    the nearest cell.

    Args:
        label_map: The map.
        matrix: Maps source to destination pixels (x, y), with (0, 0) at the centre of
            the first pixel: (2, 3), as in OpenCV.
        size: Rows and columns of the image in pixels.
    """
    rows, columns = label_map.values.shape[1:]
    # Centres of cells in pixels, and back, as matrices on (x, y, 1).
    step = np.array([size[1] / columns, size[0] / rows])
    to_pixels = np.diag([*step, 1.0])
    to_pixels[:2, 2] = (step - 1) / 2
    forward = np.vstack([matrix, [0, 0, 1]])
    source = np.linalg.inv(to_pixels) @ np.linalg.inv(forward) @ to_pixels
    return _resample(label_map, source, margin=0.5)


def legacy_affine_map(label_map: LabelMap, kind: str, amount: float) -> LabelMap:
    """Transform a map as the official Token Labeling code does.

    It works on cells: rotations are half a cell off the centre, and on images that are
    not square rotations and shears differ slightly from those of the image.

    Args:
        label_map: The map.
        kind: ``'rotate'`` (degrees, anticlockwise), ``'shear_x'``, ``'shear_y'``,
            ``'translate_x'`` or ``'translate_y'`` (fractions). As in Pillow, they
            describe where a cell comes from.
        amount: Amount of the transform.
    """
    rows, columns = label_map.values.shape[1:]
    source = np.eye(3)
    if kind == 'rotate':
        sine, cosine = math.sin(math.radians(amount)), math.cos(math.radians(amount))
        turn = np.array([[cosine, -sine], [sine, cosine]])
        centre = np.array([columns / 2, rows / 2])
        source[:2, :2], source[:2, 2] = turn, centre - turn @ centre
    elif kind == 'shear_x':
        source[0, 1] = amount
    elif kind == 'shear_y':
        source[1, 0] = amount
    elif kind == 'translate_x':
        source[0, 2] = amount * columns
    elif kind == 'translate_y':
        source[1, 2] = amount * rows
    else:
        raise InputError(
            f'kind={kind!r}: choose rotate, shear_x, shear_y, translate_x or '
            'translate_y'
        )
    return _resample(label_map, source, margin=0.0)


def _resample(label_map: LabelMap, source: np.ndarray, margin: float) -> LabelMap:
    """Resample each cell from the nearest one to ``source @ (column, row, 1)``.

    Args:
        label_map: The map.
        source: Matrix (3, 3) from destination to source cells.
        margin: Distance beyond the centres of the outer cells that is still inside.
    """
    rows, columns = label_map.values.shape[1:]
    cells = np.stack(np.broadcast_arrays(*np.ogrid[:columns, :rows], 1), axis=-1)
    # Rounded, or a quarter turn would lose its last row at 17.000000000000004.
    x, y = np.round(cells @ source[:2].T, 9).transpose(2, 1, 0)
    inside = (x >= -margin) & (x <= columns - 1 + margin)
    inside &= (y >= -margin) & (y <= rows - 1 + margin)
    # Halves are rounded up, as in the official code; `np.rint` rounds to even.
    nearest = (
        slice(None),
        np.floor(y + 0.5).astype(int).clip(0, rows - 1),
        np.floor(x + 0.5).astype(int).clip(0, columns - 1),
    )
    values = label_map.values[nearest]
    values = np.where(inside, values, values.dtype.type(0))
    return LabelMap(values, label_map.indices[nearest])


def pool_label_maps(
    values: Tensor,
    indices: Tensor,
    boxes: Tensor,
    num_classes: int,
    sizes: Sequence[int | tuple[int, int]],
    legacy_axis_order: bool = False,
) -> list[Tensor]:
    """Pool the logits of all classes to grids over the crop of each image.

    RoIAlign is used, as in Token Labeling and ReLabel. Classes that a map does not
    contain have logit 0, as in the official code.

    Args:
        values: Logits (B, k, h, w).
        indices: Their classes (B, k, h, w), integers below ``num_classes``.
        boxes: Boxes of the crops (B, 4).
        num_classes: Number of classes K.
        sizes: Rows and columns S of each grid; 1 pools the whole crop.
        legacy_axis_order: Whether to exchange the axes of the box, as the released code
            does, which labels a crop from its mirror image across the diagonal.

    Returns:
        (B, K, S, S) float32 for each of ``sizes``.
    """
    B, _, rows, columns = values.shape
    dense = values.new_zeros((B, num_classes, rows, columns), dtype=torch.float32)
    # Added, not set: an unused rank repeats a class with value 0.
    dense.scatter_add_(1, indices.long(), values.float())
    # (y, x) of the first corner and of the last; (x1, y1, x2, y2) for RoIAlign.
    first, last = boxes[:, :2].float(), (boxes[:, :2] + boxes[:, 2:]).float()
    corners = torch.cat([first, last], dim=1)
    if not legacy_axis_order:
        corners = corners[:, [1, 0, 3, 2]]
    # -0.5, as the centre of the first cell is 0 in RoIAlign without `aligned`.
    corners = corners * corners.new_tensor([columns, rows, columns, rows]) - 0.5
    batch = torch.arange(B, device=values.device, dtype=torch.float32)
    regions = torch.cat([batch[:, None], corners], dim=1)
    return [
        roi_align(dense, regions, size, sampling_ratio=-1, aligned=False)
        for size in sizes
    ]


def pool_named_classes(
    label_map: LabelMap,
    box: np.ndarray,
    num_classes: int,
    sizes: Sequence[tuple[int, int]],
    legacy_axis_order: bool = False,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Pool only the classes that a map contains.

    RoIAlign runs only on these, so that the cost does not depend on K.

    Args:
        label_map: Map with classes below ``num_classes``.
        box: Box of the crop (4,).
        num_classes: Number of classes K.
        sizes: Rows and columns of each grid.
        legacy_axis_order: Exchange the axes of the box, as the released code does.

    Returns:
        The C classes, sorted, and their logits (C, rows, columns) for each size.
    """
    # A boolean table of classes is faster than np.unique, which sorts the whole map.
    named = np.zeros(num_classes, bool)
    named[label_map.indices] = True
    classes, place = np.flatnonzero(named), named.cumsum() - 1
    planes = label_map.values, place[label_map.indices], box
    values, places, boxes = (torch.from_numpy(plane)[None] for plane in planes)
    pooled = pool_label_maps(
        values, places, boxes, len(classes), sizes, legacy_axis_order
    )
    return classes, [grid[0].numpy() for grid in pooled]
