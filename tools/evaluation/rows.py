"""Rows of results, from the predictions of one or two networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmtlalign.evaluation.accuracy import compare_paired
from mmtlalign.evaluation.conditions import Predictions

MODEL, CONTROL, DIFFERENCE = 'model', 'control', 'difference'
ResultsByCondition = Mapping[tuple[str, str], Predictions]  # (network, condition)


@dataclass
class Row:
    """One result: a line of a table, and an entry of ``results.json``.

    Attributes:
        item: Name of the item.
        setting: Part of the item, such as ``'gaussian_noise 3'``; '' if it has only
            one.
        network: ``'model'``, ``'control'``, or ``'difference'``, model minus control.
        metrics: Name to number; in percent if the name ends in '%'.
        n: Number of images, or pairs of images.
        standard_error: Standard error of the first metric over images.
        interval: 95 % interval of the first metric.
        spread: Sample standard deviation of the first metric over the draws.
        p: Exact p value of McNemar's test of a difference.
        seeds: Seeds of the draws.
        protocol: How it was measured.
        reference: ``value`` and ``source`` of a published number.
        notes: Warnings for the reader.
        detail: Whether the row is in ``results.json`` only, not in the report.
    """

    item: str
    setting: str
    network: str
    metrics: dict[str, float]
    n: int
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    spread: float | None = None
    p: float | None = None
    seeds: Sequence[int] = ()
    protocol: dict[str, Any] = field(default_factory=dict)
    reference: dict[str, Any] | None = None
    notes: Sequence[str] = ()
    detail: bool = False


def accuracy_rows(
    item: str,
    setting: str,
    results: ResultsByCondition,
    draws: Sequence[str],
    seeds: Sequence[int] = (),
    more: Sequence[int] = (),
    **settings: Any,
) -> list[Row]:
    """Return top-1 accuracy of each network, and the paired difference.

    Args:
        item: Name of the item.
        setting: Part of the item.
        results: Predictions.
        draws: Conditions to average, one for each seed.
        seeds: Seeds of the draws.
        more: Further k whose top-k accuracy is returned.
        **settings: Fields of every :class:`Row`.
    """
    rows, correct = [], {}
    for network in dict.fromkeys(name for name, _ in results):
        each = [results[network, draw] for draw in draws]
        hits = np.stack([one.correct() for one in each])
        correct[network] = hits
        share = hits.mean()
        metrics = {'top-1 %': 100 * share}
        for k in more:
            metrics[f'top-{k} %'] = 100 * np.mean([one.correct(k) for one in each])
        rows.append(
            Row(
                item,
                setting,
                network,
                metrics,
                n=hits.shape[1],
                standard_error=100 * np.sqrt(share * (1 - share) / hits.shape[1]),
                spread=100 * hits.mean(axis=1).std(ddof=1) if len(hits) > 1 else None,
                seeds=tuple(seeds),
                **settings,
            )
        )
    if CONTROL in correct:
        rows.append(_difference(rows[0], correct[MODEL], correct[CONTROL], settings))
    return rows


def mean_rows(
    item: str,
    setting: str,
    results: ResultsByCondition,
    conditions: Sequence[str],
    **settings: Any,
) -> list[Row]:
    """Return the mean accuracy over conditions of the same images.

    The standard error is computed over the means of each image, because the conditions
    of an image are not independent.
    """
    rows, means = [], {}
    for network in dict.fromkeys(name for name, _ in results):
        means[network] = np.mean(
            [results[network, c].correct() for c in conditions], axis=0
        )
        rows.append(_mean_row(item, setting, network, means[network], settings))
    if CONTROL in means:
        apart = means[MODEL] - means[CONTROL]
        rows.append(_mean_row(item, setting, DIFFERENCE, apart, settings))
    return rows


def _mean_row(
    item: str, setting: str, network: str, values: np.ndarray, settings: dict
) -> Row:
    n = len(values)
    error = values.std() / np.sqrt(n)
    metrics = {'top-1 %': 100 * values.mean()}
    return Row(item, setting, network, metrics, n, 100 * error, **settings)


def _difference(
    row: Row, model: np.ndarray, control: np.ndarray, settings: dict
) -> Row:
    """Return model minus control, paired by image; hits are (draws, n)."""
    p = None
    if len(model) == 1:
        p = compare_paired(model[0], control[0]).p
    own = _mean_row(
        row.item,
        row.setting,
        DIFFERENCE,
        model.mean(axis=0) - control.mean(axis=0),
        settings,
    )
    own.p, own.seeds = p, row.seeds
    if len(model) > 1:
        own.spread = 100 * (model.mean(axis=1) - control.mean(axis=1)).std(ddof=1)
    return own
