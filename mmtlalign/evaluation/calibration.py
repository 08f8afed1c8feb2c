"""Calibration: how well a model's confidence matches its accuracy.

Errors are fractions. Shapes: ``n`` images, ``K`` classes, ``M`` bins.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mmtlalign.errors import InputError


class ReliabilityBins(NamedTuple):
    """A reliability diagram of M confidence bins, NaN where a bin is empty."""

    edges: np.ndarray  # (M + 1,), a bin is (edge, next edge]
    count: np.ndarray  # (M,)
    accuracy: np.ndarray  # (M,)
    confidence: np.ndarray  # (M,), the mean


class CalibrationErrors(NamedTuple):
    """Mean, root mean square and largest gap of the bins, weighted by their images."""

    ece: float
    rms: float
    mce: float


def confidences(scores: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest softmax value (n,) and its class (n,) of scores (n, K).

    For a subset of classes, restrict the scores first.
    """
    probability, predicted = scores.detach().double().softmax(1).max(1)
    return probability.cpu().numpy(), predicted.cpu().numpy()


def reliability_bins(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 15
) -> ReliabilityBins:
    """Sort images into bins of equal width, (a, b]; 0 belongs to the first.

    Args:
        confidence: (n,) in 0...1.
        correct: Which images are right (n,).
        bins: Number of bins.

    Raises:
        InputError: The shapes differ, or a confidence is out of range.
    """
    confidence, correct = _checked(confidence, correct)
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges, confidence, side='left').clip(1, bins) - 1
    count = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, v, minlength=bins) for v in (correct, confidence))
    with np.errstate(invalid='ignore'):
        right, sure = (total / count for total in sums)
    return ReliabilityBins(edges, count, right, sure)


def calibration_errors(bins: ReliabilityBins) -> CalibrationErrors:
    """Return the errors of a reliability diagram: expected, RMS and maximum."""
    used = bins.count > 0
    gap = np.abs(bins.accuracy - bins.confidence)[used]
    share = bins.count[used] / bins.count.sum()
    rms = np.sqrt((share * gap**2).sum())
    return CalibrationErrors(float((share * gap).sum()), float(rms), float(gap.max()))


def adaptive_rms_error(
    confidence: ArrayLike,
    correct: ArrayLike,
    bin_size: int = 100,
    official_last_bin: bool = False,
) -> float:
    """Return the RMS calibration error of bins with equal numbers of images.

    Hendrycks et al., Natural Adversarial Examples (CVPR 2021): images are sorted by
    confidence, and the last bin gets the remainder.

    Args:
        confidence: (n,).
        correct: Which images are right (n,).
        bin_size: Images per bin.
        official_last_bin: Whether to leave out the last bin, of the most confident
            images, as the official code does, to compare with published values.
    """
    confidence, correct = _sorted(confidence, correct)
    n = len(confidence)
    starts = np.arange(max(n // bin_size, 1)) * bin_size
    count = np.diff(np.append(starts, n))
    gaps = np.add.reduceat(confidence - correct, starts) / count
    squares = count / n * gaps**2
    return float(np.sqrt(squares[: len(squares) - official_last_bin].sum()))


def aurra(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the area under the response rate accuracy curve.

    It is the mean over k of the accuracy of the k most confident images (Natural
    Adversarial Examples, CVPR 2021).
    """
    _, correct = _sorted(confidence, correct)
    correct = correct[::-1]
    return float((correct.cumsum() / np.arange(1, len(correct) + 1)).mean())


def soft_f1(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the soft F1 score of detecting wrong answers by 1 - confidence."""
    confidence, correct = _checked(confidence, correct)
    doubt, wrong = 1 - confidence, 1 - correct
    total = (doubt + wrong).sum()
    return float(2 * (doubt * wrong).sum() / total) if total else 0.0


def negative_log_likelihood(scores: Tensor, labels: Tensor) -> float:
    """Return the mean cross-entropy in nats of scores (n, K) and labels (n,)."""
    logs = scores.detach().double().log_softmax(1)
    return -logs.gather(1, labels[:, None].to(logs.device)).mean().item()


def brier_score(scores: Tensor, labels: Tensor) -> float:
    """Return the mean over images of the squared error, summed over classes, 0...2."""
    probability = scores.detach().double().softmax(1)
    truth = torch.zeros_like(probability)
    truth.scatter_(1, labels[:, None].to(truth.device), 1)
    return (probability - truth).square().sum(1).mean().item()


def _checked(
    confidence: ArrayLike, correct: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    confidence = np.asarray(confidence, np.float64)
    correct = np.asarray(correct, np.float64)
    if confidence.shape != correct.shape or confidence.ndim != 1 or not len(correct):
        raise InputError(
            f'Confidences of shape {confidence.shape} and answers of shape '
            f'{correct.shape}: give both as (n,) for the same images, one or more.'
        )
    if not (confidence.min() >= 0 and confidence.max() <= 1):
        raise InputError(
            f'Confidences are in {confidence.min():.4g}...{confidence.max():.4g}: give '
            'probabilities, 0 to 1, such as those of confidences(scores).'
        )
    return confidence, correct


def _sorted(confidence: ArrayLike, correct: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Sort by rising confidence, and average the answers of equal confidence.

    The result then does not depend on the order of the data set.
    """
    confidence, correct = _checked(confidence, correct)
    values, group = np.unique(confidence, return_inverse=True)
    mean = np.bincount(group, correct) / np.bincount(group)
    order = np.sort(group)
    return values[order], mean[order]
