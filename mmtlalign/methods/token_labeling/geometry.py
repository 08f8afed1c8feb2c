"""How a label map moves with its image: flips, rotations, shears, shifts, crops.

A map covers its whole image, cell by cell. Cells that come from outside get value
0, as absent classes have, and keep the class of the nearest cell.

Label maps and crop boxes to soft labels, by RoIAlign (Token Labeling, ReLabel).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.label_map import LabelMap

FLIPS = dict(horizontal=(-1,), vertical=(-2,), diagonal=(-2, -1))


def flip_map(label_map: LabelMap, direction: str) -> LabelMap:
    """Flip ``'horizontal'`` (columns), ``'vertical'`` (rows) or ``'diagonal'``."""
    axes = FLIPS[direction]
    return LabelMap(*(np.flip(plane, axes).copy() for plane in label_map))


def flip_box(box: np.ndarray, direction: str) -> np.ndarray:
    """The box of an image that is flipped after it was cropped.

    Args:
        box: Top, left, height, width as shares of the whole image (4,).
        direction: As :func:`flip_map`.
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
    """The box that remains after a crop.

    Args:
        box: What the image shows before it (4,).
        crop: Top, left, height and width in pixels of the image.
        size: Rows and columns of the image in pixels.

    Returns:
        (4,) float32, shares of the whole image.
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


def move_map(
    label_map: LabelMap, matrix: np.ndarray, size: tuple[int, int]
) -> LabelMap:
    """Move a map as an affine transformation moves its image.

    Args:
        label_map: The map.
        matrix: Where a pixel (x, y) goes, counted from 0 at the centre of the first:
            (2, 3), as in OpenCV.
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


def legacy_move_map(label_map: LabelMap, kind: str, amount: float) -> LabelMap:
    """Move a map as the official Token Labeling code does.

    It works in cells: rotations are half a cell off the centre, and on images that
    are not square neither rotations nor shears are quite those of the image.

    Args:
        label_map: The map.
        kind: ``'rotate'`` (degrees, anticlockwise), ``'shear_x'``, ``'shear_y'``,
            ``'translate_x'`` or ``'translate_y'`` (shares), as Pillow means them:
            where a cell comes from.
        amount: How much.
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
        raise InputError(f'kind={kind!r}: rotate, shear_x, _y, translate_x or _y')
    return _resample(label_map, source, margin=0.0)


def _resample(label_map: LabelMap, source: np.ndarray, margin: float) -> LabelMap:
    """Take each cell from the nearest one to ``source @ (column, row, 1)``.

    Args:
        label_map: The map.
        source: (3, 3).
        margin: How far beyond the centres of the outer cells is still inside.
    """
    rows, columns = label_map.values.shape[1:]
    here = np.stack(np.broadcast_arrays(*np.ogrid[:columns, :rows], 1), axis=-1)
    # Rounded, as a quarter turn must not lose its last row to 17.000000000000004.
    x, y = np.round(here @ source[:2].T, 9).transpose(2, 1, 0)
    inside = (x >= -margin) & (x <= columns - 1 + margin)
    inside &= (y >= -margin) & (y <= rows - 1 + margin)
    # Halves go up, as in the official code; `np.rint` would take the even one.
    at = (
        slice(None),
        np.floor(y + 0.5).astype(int).clip(0, rows - 1),
        np.floor(x + 0.5).astype(int).clip(0, columns - 1),
    )
    values = np.where(inside, label_map.values[at], label_map.values.dtype.type(0))
    return LabelMap(values, label_map.indices[at])


def pool_label_maps(
    values: Tensor,
    indices: Tensor,
    boxes: Tensor,
    num_classes: int,
    size: int | tuple[int, int],
    legacy_axis_order: bool = False,
) -> Tensor:
    """Logits of all classes on a grid laid over the crop of each image.

    Classes that a map does not name have logit 0, as in the official code. It hands
    the box over with its axes exchanged, so that a crop is labelled from its mirror
    image across the diagonal: ``legacy_axis_order`` does the same.

    Args:
        values: Logits (B, k, h, w).
        indices: Their classes (B, k, h, w), integers below ``num_classes``.
        boxes: Top, left, height and width of the crops as shares of the images
            (B, 4).
        num_classes: K.
        size: Rows and columns S of the grid; 1 pools the whole crop.
        legacy_axis_order: As the released code. Defaults to False: as it should be.

    Returns:
        (B, K, S, S) float32.
    """
    sizes = [size]
    return pool_grids(values, indices, boxes, num_classes, sizes, legacy_axis_order)[0]


def pool_grids(
    values: Tensor,
    indices: Tensor,
    boxes: Tensor,
    num_classes: int,
    sizes: Sequence[int | tuple[int, int]],
    legacy_axis_order: bool = False,
) -> list[Tensor]:
    """As :func:`pool_label_maps`, for several grids over the same crops."""
    B, _, rows, columns = values.shape
    dense = values.new_zeros((B, num_classes, rows, columns), dtype=torch.float32)
    # Added, not set: a rank that says nothing repeats a class with value 0.
    dense.scatter_add_(1, indices.long(), values.float())
    # (y, x) of the first corner and of the last; (x1, y1, x2, y2) for RoIAlign.
    first, last = boxes[:, :2].float(), (boxes[:, :2] + boxes[:, 2:]).float()
    corners = torch.cat([first, last], dim=1)
    if not legacy_axis_order:
        corners = corners[:, [1, 0, 3, 2]]
    # -0.5, as RoIAlign without `aligned` has the centre of the first cell at 0.
    corners = corners * corners.new_tensor([columns, rows, columns, rows]) - 0.5
    batch = torch.arange(B, device=values.device, dtype=torch.float32)
    regions = torch.cat([batch[:, None], corners], dim=1)
    return [
        roi_align(dense, regions, size, sampling_ratio=-1, aligned=False)
        for size in sizes
    ]


def label_map_targets(
    values: Tensor,
    indices: Tensor,
    boxes: Tensor,
    labels: Tensor,
    num_classes: int,
    size: int,
    smoothing: float = 0.0,
    legacy_axis_order: bool = False,
) -> Tensor:
    """The targets of a batch in the layout of the official code.

    Args:
        values: As :func:`pool_label_maps`.
        indices: As :func:`pool_label_maps`.
        boxes: As :func:`pool_label_maps`.
        labels: Classes of the images (B,).
        num_classes: K.
        size: Side S of the token grid; with 1 there are no token labels.
        smoothing: Label smoothing s. Soft labels p become p (1 - s + s/K) + s/K,
            which sums to 1 + s/K, as in the official code. Defaults to 0.
        legacy_axis_order: As :func:`pool_label_maps`.

    Returns:
        (B, K, 2 + S²): the label, the label of the map, token labels row by row;
        (B, K, 2) where ``size`` is 1.
    """
    sizes = [1, size] if size > 1 else [1]
    pooled = pool_grids(values, indices, boxes, num_classes, sizes, legacy_axis_order)
    soft = torch.cat([p.flatten(2) for p in pooled], dim=2).softmax(dim=1)
    off = smoothing / num_classes
    on = 1 - smoothing + off
    hard = torch.full_like(soft[..., :1], off)
    hard.scatter_(1, labels.view(-1, 1, 1), on)
    return torch.cat([hard, soft * on + off], dim=2)
