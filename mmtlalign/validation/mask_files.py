"""Read segmentation masks as they are in the files."""

import io

import numpy as np
from mmengine.fileio import get
from PIL import Image

# Formats, as Pillow names them, that change ids where two classes meet.
LOSSY = ('JPEG', 'MPO')


def format_fault(kind: str) -> str:
    """Return what is wrong if a mask has a lossy format; else ''."""
    if kind not in LOSSY:
        return ''
    return (
        f'is a {kind} file, whose compression turns ids at the borders of objects into '
        'other classes; write it again from the original labels as an 8-bit PNG'
    )


def depth_fault(mask: np.ndarray | None) -> str:
    """Return what is wrong if ids, (H, W), need more than 8 bits; else ''."""
    if mask is None or (mask.max(initial=0) <= 255 and mask.min(initial=0) >= 0):
        return ''
    return (
        f'holds id {mask.max()}, but ids are read as 8 bits (0…255), and larger ones '
        'would turn into other classes; write the masks again as 8-bit PNG'
    )


def read_mask(path: str) -> np.ndarray | None:
    """Read a label image as it is in the file: (H, W) of ids; None if unreadable."""
    try:
        return np.asarray(Image.open(io.BytesIO(get(path))))
    except Exception:
        return None
