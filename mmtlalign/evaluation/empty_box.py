"""The empty box: how much of a mixed label names an object that cannot be seen.

Ours; TransMix (CVPR 2022) opens with the complaint and does not measure it. Object
masks are no attention: the background may carry evidence for a class, too. The terms
are those of :mod:`mmtlalign.evaluation.visible_objects`.

Shapes: ``P`` pairs.
"""

import numpy as np

from mmtlalign.errors import InputError
from mmtlalign.evaluation.correlation import (
    Interval,
    bootstrap_images,
    pearson,
    slope,
    spearman,
)
from mmtlalign.evaluation.visible_objects import VisibleObjects, ratio

# Differences of shares in float32 that are rounding.
ROUNDING = 1e-6

# Visible fractions up to which an object counts as not visible.
THRESHOLDS = (0.0, 0.05, 0.1)


def describe_share(
    visible: VisibleObjects,
    share: np.ndarray,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> dict[str, float]:
    """Return the figures of one rule for labels.

    The correlation beyond the area has no scale and misleads alone: hold it to random
    weights, to masks of other images (:func:`other_images`) and to the slope.

    Args:
        visible: Of P pairs.
        share: The partner's share in the label (P,): CutMix's is ``visible.area``.
        thresholds: Fractions up to which an object is not visible.

    Returns:
        ``pairs`` (usable), ``undefined`` (of these, nothing of either is visible:
        not in what follows), ``rmse_to_ideal``, ``pearson``, ``spearman``,
        ``spearman_beyond_area`` and ``slope_beyond_area`` (of ideal - area on
        share - area; NaN where all are equal); for each threshold t
        ``empty_partner@t``, ``empty_own@t`` (shares of pairs),
        ``share_given_empty@t`` and ``phantom_mass@t``.
    """
    share = np.asarray(share, np.float64)
    if share.shape != visible.area.shape:
        raise InputError(f'{share.shape} shares for {visible.area.shape} pairs.')
    ideal = visible.ideal
    defined = visible.usable & np.isfinite(ideal)
    q, s, area = share[defined], ideal[defined], visible.area[defined]
    beyond = np.where(np.abs(q - area) < ROUNDING, 0, q - area)
    figures = dict(
        pairs=float(visible.usable.sum()),
        undefined=float((visible.usable & ~np.isfinite(ideal)).sum()),
        rmse_to_ideal=_mean((q - s) ** 2) ** 0.5,
        pearson=pearson(q, s),
        spearman=spearman(q, s),
        spearman_beyond_area=spearman(beyond, s - area),
        slope_beyond_area=slope(beyond, s - area),
    )
    for threshold in thresholds:
        empty = visible.empty_partner(threshold)
        usable, at = visible.usable, f'@{threshold:g}'
        figures[f'empty_partner{at}'] = _mean(empty[usable])
        figures[f'empty_own{at}'] = _mean(visible.empty_own(threshold)[usable])
        figures[f'share_given_empty{at}'] = _mean(share[empty])
        figures[f'phantom_mass{at}'] = _mean(visible.phantom(share, threshold)[usable])
    return figures


def compare_shares(
    visible: VisibleObjects,
    share: np.ndarray,
    reference: np.ndarray,
    own: np.ndarray,
    partner: np.ndarray,
    threshold: float = 0.05,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compare two rules on the same pairs, with 95 % intervals over images.

    Args:
        visible: Of P pairs.
        share: Of the rule (P,).
        reference: Of what it is held to (P,), such as CutMix's ``visible.area``.
        own, partner: Numbers of the images of each pair (P,).
        threshold: Visible fraction up to which an object is not visible.
        draws, seed: Of :func:`bootstrap_images`.

    Returns:
        ``rmse_to_ideal`` and ``phantom_mass`` of the rule minus those of the reference;
        times 100 they are points.
    """
    error = (np.asarray([share, reference], np.float64) - visible.ideal) ** 2
    error = np.where(visible.usable, error, np.nan)
    unseen = [visible.phantom(q, threshold) for q in (share, reference)]

    def change_of_rmse(index: np.ndarray) -> float:
        ours, theirs = _mean_of_known(error[:, index]) ** 0.5
        return ours - theirs

    def change_of_phantom(index: np.ndarray) -> float:
        return float(_mean_of_known((unseen[0] - unseen[1])[index]))

    where = dict(own=own, partner=partner, draws=draws, seed=seed)
    return dict(
        rmse_to_ideal=bootstrap_images(change_of_rmse, **where),
        phantom_mass=bootstrap_images(change_of_phantom, **where),
    )


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float('nan')


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Return the mean of what is no NaN over the last axis, NaN without any."""
    count = np.isfinite(values).sum(axis=-1)
    return ratio(np.nansum(values, axis=-1), count)
