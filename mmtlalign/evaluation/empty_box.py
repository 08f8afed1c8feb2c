"""The empty-box measure: the part of mixed labels for objects that are not visible.

The measure is ours; TransMix (CVPR 2022) describes the problem and does not measure it.
Note that the background, outside the object masks, may also carry evidence for a class.
Terms are defined in :mod:`mmtlalign.evaluation.visible_objects`.

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

# Differences of shares up to this size are float32 rounding.
ROUNDING = 1e-6

# Visible fractions up to which an object counts as not visible.
THRESHOLDS = (0.0, 0.05, 0.1)


def describe_share(
    visible: VisibleObjects,
    share: np.ndarray,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> dict[str, float]:
    """Return the results of one labelling rule.

    The correlation beyond the area has no scale and is misleading by itself: compare it
    with random weights, with masks of other images (:func:`other_images`) and with the
    slope.

    Args:
        visible: Visible objects of P pairs.
        share: The partner's share in the label (P,); that of CutMix is
            ``visible.area``.
        thresholds: Fractions up to which an object counts as not visible.

    Returns:
        ``pairs`` (number of usable pairs), ``undefined`` (pairs of these that show
        neither object, which the following leave out), ``rmse_to_ideal``, ``pearson``,
        ``spearman``, ``spearman_beyond_area`` and ``slope_beyond_area`` (of
        ideal - area on share - area; NaN if all are equal); for each threshold t
        ``empty_partner@t``, ``empty_own@t`` (fractions of pairs),
        ``share_given_empty@t`` and ``phantom_mass@t``.
    """
    share = np.asarray(share, np.float64)
    if share.shape != visible.area.shape:
        raise InputError(
            f'Shares of shape {share.shape} for pairs of shape {visible.area.shape}: '
            'give one share per pair.'
        )
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
        visible: Visible objects of P pairs.
        share: Shares of the rule (P,).
        reference: Shares of the rule to compare with (P,), such as CutMix's
            ``visible.area``.
        own, partner: Indices of the images of each pair (P,).
        threshold: Visible fraction up to which an object counts as not visible.
        draws: Number of resamplings of the images.
        seed: Seed of the resamplings.

    Returns:
        ``rmse_to_ideal`` and ``phantom_mass`` of the rule minus those of the reference,
        as fractions.
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
    """Return the mean over the last axis without NaN values, NaN if there are none."""
    count = np.isfinite(values).sum(axis=-1)
    return ratio(np.nansum(values, axis=-1), count)
