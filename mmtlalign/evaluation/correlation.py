"""Correlations, and bootstrap intervals over images, with NumPy.

Shapes: ``P`` pairs.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mmtlalign.errors import InputError


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's correlation, NaN for constant samples or too few values."""
    x, y = _centred(x), _centred(y)
    spread = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / spread) if len(x) > 1 and spread > 0 else float('nan')


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's correlation; equal values get their mean rank."""
    return pearson(mean_ranks(x), mean_ranks(y))


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Return the slope of y on x by least squares; NaN where x is constant."""
    x, y = _centred(x), _centred(y)
    return float(x @ y / (x @ x)) if x @ x > 0 else float('nan')


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 0; equal values get their mean rank."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    last = count.cumsum()
    return (last - (count + 1) / 2)[group]


class Interval(NamedTuple):
    """A value, and the range that contains it in 95 % of the resamplings."""

    value: float
    low: float
    high: float


def bootstrap_images(
    figure: Callable[[np.ndarray], float],
    own: np.ndarray,
    partner: np.ndarray,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return a statistic of pairs and its bootstrap interval over images.

    Pairs that share images are not independent. Images are therefore resampled, and a
    pair is repeated by the product of the numbers of draws of its two images.

    Args:
        figure: Computes the statistic from indices of pairs (any,), which may repeat.
            Resamplings with result NaN are left out.
        own, partner: Indices of the images of each pair (P,).
        draws: Number of resamplings.
        seed: Seed of the resamplings.

    Raises:
        InputError: There are no pairs, or ``own`` and ``partner`` differ in shape.
    """
    own, partner = np.asarray(own), np.asarray(partner)
    if own.shape != partner.shape or not len(own):
        raise InputError(
            f'Image indices of shapes {own.shape} and {partner.shape}: give the own '
            'and the partner image of every pair, both (P,), for one pair or more.'
        )
    images = int(max(own.max(), partner.max())) + 1
    random, every = np.random.default_rng(seed), np.arange(len(own))
    found = []
    for _ in range(draws):
        times = np.bincount(random.integers(images, size=images), minlength=images)
        found.append(figure(every.repeat(times[own] * times[partner])))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return Interval(float(figure(every)), float(low), float(high))


def _centred(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    # The mean of equal values is rounded, so it may differ from them.
    if not len(values) or values.min() == values.max():
        return np.zeros_like(values)
    return values - values.mean()
