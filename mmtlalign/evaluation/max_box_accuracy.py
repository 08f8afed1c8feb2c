"""MaxBoxAcc and MaxBoxAccV2 (Choe et al., CVPR 2020), as in clovaai/wsolevaluation.

Its conventions are kept so that results are comparable: a predicted box ends one past
its last pixel unless it is cut at the border, and the overlap includes the end pixels.

Shapes: ``R`` side of the squashed image, ``T`` thresholds, ``n`` boxes. Boxes are ``x0,
y0, x1, y1`` in pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from mmtlalign.errors import InputError

OVERLAPS = (0.3, 0.5, 0.7)


def score_map(attention: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a map (h, w) resized by OpenCV's cubic filter and scaled to 0...1.

    Args:
        attention: (h, w).
        size: Height and width; the official code uses 224 x 224, with the image
            squashed and not cropped.

    Returns:
        The map of this size; zeros for a map that is constant or contains NaN.
    """
    resized = cv2.resize(
        np.asarray(attention), size[::-1], interpolation=cv2.INTER_CUBIC
    )
    low, high = resized.min(), resized.max()
    if not high > low:
        return np.zeros(size, resized.dtype)
    return (resized - low) / (high - low)


def threshold_boxes(
    scores: np.ndarray, thresholds: Sequence[float], every: bool = False
) -> list[np.ndarray]:
    """Return the boxes of the regions above each threshold, (n, 4) each.

    Args:
        scores: (R, R), 0 to 1.
        thresholds: T thresholds, as fractions of the largest score.
        every: Return boxes of all contours, not only of the largest.
    """
    image = (scores * 255).astype(np.uint8)
    levels = [int(threshold * image.max()) for threshold in thresholds]
    known = {level: _boxes_above(image, level, every) for level in set(levels)}
    return [known[level] for level in levels]


def _boxes_above(image: np.ndarray, level: int, every: bool) -> np.ndarray:
    binary = cv2.threshold(image, level, 255, cv2.THRESH_BINARY)[1]
    # OpenCV 3 returns the image as an additional first value.
    contours = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[-2]
    if not contours:
        return np.zeros((1, 4), np.int64)
    if not every:
        contours = [max(contours, key=cv2.contourArea)]
    corners = np.array([cv2.boundingRect(contour) for contour in contours])
    corners[:, 2:] += corners[:, :2]
    last = image.shape[1] - 1, image.shape[0] - 1
    corners[:, 2:] = np.minimum(corners[:, 2:], last)
    return corners


def inclusive_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return intersection over union (n, m), with end pixels included."""
    boxes, others = np.asarray(boxes)[:, None], np.asarray(others)[None]
    low = np.maximum(boxes[..., :2], others[..., :2])
    high = np.minimum(boxes[..., 2:], others[..., 2:])
    common = (high - low + 1).clip(min=0).prod(axis=-1)
    sizes = [(b[..., 2:] - b[..., :2] + 1).prod(axis=-1) for b in (boxes, others)]
    return common / (sizes[0] + sizes[1] - common)


class MaxBoxAccuracy:
    """Accuracy of boxes at the threshold that is best for the whole data set.

    The best threshold is chosen on the evaluated images, as in the official code.
    Papers choose it on another split.

    Args:
        thresholds: T thresholds; those of the code are 0, 0.001, ... below 1.
        every: Evaluate the boxes of all contours (V2), not only of the largest.
        overlaps: Smallest intersections over union.
    """

    def __init__(
        self,
        thresholds: Sequence[float] | None = None,
        every: bool = False,
        overlaps: Sequence[float] = OVERLAPS,
    ):
        self.thresholds = np.arange(0, 1, 0.001) if thresholds is None else thresholds
        self.every = every
        self.overlaps = overlaps
        self.correct = np.zeros((len(overlaps), len(self.thresholds)), np.int64)
        self.count = 0

    def add(self, scores: np.ndarray, truths: np.ndarray) -> None:
        """Evaluate one image.

        Args:
            scores: Output of :func:`score_map` (R, R).
            truths: One or more true boxes (n, 4), in pixels of the squashed image.
        """
        best = self.best_overlaps(scores, truths)
        self.add_correct(best >= np.asarray(self.overlaps)[:, None])

    def best_overlaps(self, scores: np.ndarray, truths: np.ndarray) -> np.ndarray:
        """Return the best overlap with any true box at each threshold (T,)."""
        if not len(truths):
            raise InputError(
                'An image has no ground-truth box: leave it out, and report how many '
                'are left out.'
            )
        boxes = threshold_boxes(scores, self.thresholds, self.every)
        # A thousand thresholds give at most 256 different sets of boxes.
        different = {id(one): one for one in boxes}
        best = {at: inclusive_iou(one, truths).max() for at, one in different.items()}
        return np.array([best[id(one)] for one in boxes])

    def add_correct(self, correct: np.ndarray) -> None:
        """Add one image, given whether it is right (overlaps, T)."""
        self.correct += correct
        self.count += 1

    @property
    def accuracy(self) -> np.ndarray:
        """Return the percentage of right images (overlaps, T)."""
        return 100.0 * self.correct / max(self.count, 1)

    def compute(self) -> dict[str, float]:
        """Return ``max_box_acc@o`` at each overlap o, and ``max_box_acc``, their mean.

        Values are in percent. MaxBoxAccV2 is the mean with ``every=True``; MaxBoxAcc is
        the value at overlap 0.5 with ``every=False``.
        """
        best = self.accuracy.max(axis=1)
        found = {f'max_box_acc@{o:g}': float(b) for o, b in zip(self.overlaps, best)}
        return dict(found, max_box_acc=float(best.mean()))
