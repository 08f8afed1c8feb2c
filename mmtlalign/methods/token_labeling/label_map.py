"""The dense label map of one image: top-k logits and their classes, cell by cell."""

from typing import NamedTuple

import numpy as np

# Far above any other logit, so that a softmax gives all to this class; float16
# ends at 65504.
CERTAIN = 30000.0


class LabelMap(NamedTuple):
    """What an annotator saw in each cell of a grid laid over the whole image.

    Attributes:
        values: Logits, no softmax, (k, h, w) float16, falling along k.
        indices: Their classes, (k, h, w) int16 or int32.
    """

    values: np.ndarray
    indices: np.ndarray

    def dense(self, num_classes: int) -> np.ndarray:
        """The logits of all classes, absent ones 0, (num_classes, h, w) float32."""
        full = np.zeros((num_classes, *self.values.shape[1:]), np.float32)
        rows, columns = np.ogrid[: full.shape[1], : full.shape[2]]
        for values, indices in zip(*self):
            # Added, not set: a rank that says nothing repeats a class with value 0.
            full[indices, rows, columns] += values
        return full


def index_dtype(num_classes: int) -> np.dtype:
    """The smaller of int16 and int32 that holds the classes.

    float16, which the official files use, is exact up to 2048 only.
    """
    return np.dtype('<i2' if num_classes <= 2**15 else '<i4')


def hard_label_map(label: int, shape: tuple[int, int, int]) -> LabelMap:
    """A map that says the same class everywhere, with certainty.

    Args:
        label: The class.
        shape: (k, h, w) of the maps it stands among.
    """
    values = np.zeros(shape, np.float16)
    values[0] = CERTAIN
    # The other ranks say class 0 with value 0, which adds nothing.
    indices = np.zeros(shape, np.int32)
    indices[0] = label
    return LabelMap(values, indices)
