"""Out-of-distribution detection by a score, as evaluated on ImageNet-O.

Positive images are those out of distribution, and the score is minus the confidence.
Images of equal score form one step of the curve, so scores must not be rounded. Results
equal scikit-learn's ``average_precision_score`` and ``roc_auc_score``.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mmtlalign.errors import InputError


class Detection(NamedTuple):
    """Detection performance of a score, as fractions."""

    aupr: float  # area under precision against recall, step-wise
    auroc: float
    fpr: float  # false positive rate at the recall
    base_rate: float  # share of positive images, the AUPR of chance


def detect_unknown(
    confidence_in: ArrayLike, confidence_out: ArrayLike, recall: float = 0.95
) -> Detection:
    """Return how well low confidence detects images of unknown classes.

    Args:
        confidence_in: Confidence on images of known classes (n,), such as the largest
            softmax value over the classes of the data set.
        confidence_out: Confidence on images of unknown classes (m,).
        recall: Recall at which the false positive rate is read: at the threshold with
            the nearest recall, as in Hendrycks' code.

    Raises:
        InputError: An argument is empty or not finite.
    """
    known, unknown = (
        np.asarray(c, np.float64) for c in (confidence_in, confidence_out)
    )
    score = -np.concatenate([known, unknown])
    positive = np.arange(len(score)) >= len(known)
    return detection(score, positive, recall)


def detection(score: ArrayLike, positive: ArrayLike, recall: float = 0.95) -> Detection:
    """Return how well a score, high for positive images, detects these.

    Args:
        score: (n,).
        positive: Which images are positive (n,).
        recall: Recall at which the false positive rate is read.

    Raises:
        InputError: All or no images are positive, or a score is not finite.
    """
    score, positive = np.asarray(score, np.float64), np.asarray(positive, bool)
    if positive.all() or not positive.any() or not np.isfinite(score).all():
        raise InputError(
            f'{positive.sum()} of {len(score)} images are positive: give positive and '
            'negative images, and finite scores.'
        )
    order = np.argsort(-score, kind='stable')
    last = np.append(np.diff(score[order]) != 0, True)  # of each group of equals
    hits = positive[order].cumsum()[last]
    alarms = (~positive[order]).cumsum()[last]
    found, false = hits / hits[-1], alarms / alarms[-1]
    precision = hits / (hits + alarms)
    rise = np.diff(found, prepend=0)
    heights = false - np.diff(false, prepend=0) / 2
    # Of two recalls at equal distance the larger one is used.
    complete = np.searchsorted(hits, hits[-1]) + 1
    distance = np.abs(found[:complete] - recall)[::-1]
    cut = complete - 1 - np.argmin(distance)
    return Detection(
        aupr=float((rise * precision).sum()),
        auroc=float(1 - (rise * heights).sum()),
        fpr=float(false[cut]),
        base_rate=float(positive.mean()),
    )
