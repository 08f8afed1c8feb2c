"""Accuracy: top k, subsets of classes, several labels, paired comparison.

Shapes: ``n`` images, ``K`` classes, ``L`` largest number of labels per image.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmtlalign.errors import InputError

NO_LABEL = -1


class Accuracy(NamedTuple):
    """An accuracy as a fraction, with its uncertainty."""

    n: int  # images that count
    accuracy: float
    standard_error: float


class PairedComparison(NamedTuple):
    """How two models differ on the same images."""

    difference: float  # accuracy of a minus that of b
    standard_error: float  # of the difference
    only_a: int  # images that a alone has right
    only_b: int
    p: float  # McNemar's exact test, two-sided


def correct_in_top(
    scores: Tensor, labels: Tensor, k: int = 1, classes: Sequence[int] | None = None
) -> Tensor:
    """Return which images have a label among their k best classes (n,).

    Of equal scores the class with the lower index ranks higher. An image whose scores
    are NaN is wrong, and so is one without a label.

    Args:
        scores: (n, K).
        labels: (n,), or (n, L) where any of several labels is right; -1 is no label.
        k: Number of best classes.
        classes: Classes that the model may choose from, such as the 200 of ImageNet-A;
            None for all.

    Raises:
        InputError: A label is not one of the classes, or shapes do not match.
    """
    labels = labels.reshape(len(labels), -1).to(scores.device)
    check_labels(labels[labels != NO_LABEL], scores.shape[1])
    if len(labels) != len(scores):
        raise InputError(
            f'{len(labels)} labels for {len(scores)} rows of scores: give one label '
            'per row.'
        )
    if classes is not None:
        scores, labels = restrict(scores, labels, classes)
    own = scores.gather(1, labels.clamp(min=0))
    # Written so that a NaN ranks above the label.
    rank = (~(scores[:, None] <= own[..., None])).sum(-1)
    places = torch.arange(scores.shape[1], device=scores.device)
    ties = scores[:, None] == own[..., None]
    rank = rank + (ties & (places < labels[..., None])).sum(-1)
    return ((rank < k) & (labels != NO_LABEL)).any(1)


def has_label(labels: Tensor) -> Tensor:
    """Return which images have at least one of L labels (n,).

    ImageNet-ReaL leaves images without labels out of numerator and denominator.
    """
    return (labels.reshape(len(labels), -1) != NO_LABEL).any(1)


def restrict(
    scores: Tensor, labels: Tensor, classes: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Keep the scores of some classes, and renumber the labels.

    Args:
        scores: (n, K).
        labels: (n,) or (n, L), among the K classes; -1 is kept.
        classes: k of the K classes.

    Returns:
        Scores (n, k), and labels as positions in ``classes``.

    Raises:
        InputError: A label is not one of ``classes``, or one of these is not among K.
    """
    chosen = torch.as_tensor(classes, device=scores.device).long()
    if len(chosen.unique()) != len(chosen):
        raise InputError('classes lists a class twice: list each class once.')
    check_labels(chosen, scores.shape[1])
    place = scores.new_full((scores.shape[1] + 1,), -2, dtype=torch.long)
    place[chosen] = torch.arange(len(chosen), device=scores.device)
    place[-1] = NO_LABEL  # which label -1 reads
    labels = place[labels.to(scores.device)]
    if (labels == -2).any():
        raise InputError(
            f'{int((labels == -2).sum())} labels are not among the {len(chosen)} '
            'classes of the subset: give the data set that has these classes.'
        )
    return scores[:, chosen], labels


def check_labels(labels: Tensor, classes: int) -> None:
    """Check that labels are integers from 0 to K - 1.

    Raises:
        InputError: They are not.
    """
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(f'labels are {labels.dtype}: give integers.')
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise InputError(
            f'Label {int(wrong[0])} is out of range: the model has {classes} classes, '
            f'so labels are 0 to {classes - 1}.'
        )


def accuracy(correct: Tensor, counts: Tensor | None = None) -> Accuracy:
    """Return the fraction of right images, with standard error sqrt(a (1 - a) / n).

    Args:
        correct: Which images are right (n,).
        counts: Which images are included (n,), None for all; see :func:`has_label`.

    Raises:
        InputError: No image is included.
    """
    correct = torch.as_tensor(correct)
    if counts is not None:
        correct = correct[torch.as_tensor(counts)]
    n = len(correct)
    if not n:
        raise InputError(
            'All images are excluded, so there is no accuracy: include at least one.'
        )
    share = correct.double().mean().item()
    return Accuracy(n, share, math.sqrt(share * (1 - share) / n))


def compare_paired(correct_a: Tensor, correct_b: Tensor) -> PairedComparison:
    """Compare two models, image by image.

    The standard error is sqrt(b + c - (b - c)² / n) / n with the discordant counts b
    and c; p is the p-value of McNemar's exact test.

    Args:
        correct_a: Which images the first model has right (n,).
        correct_b: The same for the second, with images in the same order.

    Raises:
        InputError: The numbers of images differ, or there are no images.
    """
    a, b = (torch.as_tensor(c).bool().cpu() for c in (correct_a, correct_b))
    n = len(a)
    if a.shape != b.shape or not n:
        raise InputError(
            f'{n} and {len(b)} images: a paired comparison needs the results of both '
            'models on the same images, one or more.'
        )
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    apart = only_a - only_b
    error = math.sqrt(only_a + only_b - apart**2 / n) / n
    p = _sign_test(only_a, only_b)
    return PairedComparison(apart / n, error, only_a, only_b, p)


def _sign_test(first: int, second: int) -> float:
    """Return twice the tail of a binomial distribution with probability 1/2."""
    n = first + second
    tail = torch.arange(min(first, second) + 1, dtype=torch.float64)
    total = torch.tensor(n, dtype=torch.float64)
    logs = torch.lgamma(total + 1) - torch.lgamma(tail + 1)
    logs = logs - torch.lgamma(total - tail + 1) - n * math.log(2)
    return min(1.0, 2 * logs.logsumexp(0).exp().item())
