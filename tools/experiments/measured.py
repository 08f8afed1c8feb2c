"""Metrics of a finished job, by column of the table."""

import json
from collections.abc import Mapping
from pathlib import Path

from tools.experiments.jobs import Job
from tools.experiments.progress import last_metrics

# What an evaluation writes into its folder.
RESULTS = 'results.json'
# What mmdet logs instead of metrics.
EMPTY = 'The testing results of the whole dataset is empty'


def headlines(path: Path, columns: Mapping[str, str] | None = None) -> dict[str, float]:
    """Return the first number of the items of an evaluation, by column.

    Args:
        path: ``results.json`` of ``tools/evaluate.py``.
        columns: Column to item. Defaults to every item under the name of its number.
    """
    items = json.loads(path.read_text())['items']
    if columns:
        return {
            column: value
            for column, item in columns.items()
            if item in items
            for value in list(_headline(items[item]).values())[:1]
        }
    return {
        f'{name}{column}': value
        for name, item in items.items()
        for column, value in _headline(item).items()
    }


def _headline(item: dict) -> dict[str, float]:
    """Return the first number of an item, by its name; nothing if it has none."""
    if not item['rows'] or item['headline'] is None:
        return {}
    head = item['headline'] or item['rows'][0]['setting']
    row = next(row for row in item['rows'] if row['setting'] == head)
    metric, value = next(iter(row['metrics'].items()))
    return {f'{", " if head else ""}{head}: {metric}': value}


def measured_by(job: Job) -> Mapping[str, float]:
    """Return the last metrics of a training run, by column, in percent.

    mmengine gives COCO's averages from 0 to 1; mmdet measures nothing where no object
    was found at all, which is an average precision of 0.
    """
    newest = job.log.read_text(errors='replace').rsplit('\n$ ', 1)[-1]
    # A run evaluates several times, and the last time counts.
    measured = max((newest.rfind(f'{n}: ') for n in job.columns.values()), default=-1)
    if newest.rfind(EMPTY) > measured:
        return dict.fromkeys(job.columns, 0.0)
    found = last_metrics(job.folder, job.columns)
    scale = {c: 100 if job.columns[c].startswith('coco/') else 1 for c in found}
    return {column: round(value * scale[column], 2) for column, value in found.items()}
