"""How a label map moves with its image: flips, rotations, shears, shifts, crops.

A map covers its whole image, cell by cell. Cells that come from outside get value
0, as absent classes have, and keep the class of the nearest cell.
"""

import math

import numpy as np

from mmtlalign.datasets.label_maps.label_map import LabelMap

__all__ = ['crop_box', 'flip_box', 'flip_map', 'legacy_move_map', 'move_map']

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
        raise ValueError(f'kind={kind!r}: rotate, shear_x, _y, translate_x or _y')
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
