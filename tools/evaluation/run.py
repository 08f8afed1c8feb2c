"""Measure items: one pass over the data for all conditions, results after each pass."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine import dist

from mmtlalign.compat.files import atomic_write
from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.conditions import CLEAN, Predictions, predict
from tools.evaluation.context import Context
from tools.evaluation.items import ConditionItem, Item, MeasuredItem
from tools.evaluation.rows import Row
from tools.output import track, write_json

SCHEMA = 1


class Results:
    """``results.json``: the rows of every item, kept while their settings stay.

    Args:
        path: The file.
        header: Metadata above the rows: command, machine, versions.
        resume: Whether rows of an earlier run are kept.
        order: Names of all items, in the order of the report.
    """

    def __init__(
        self, path: Path, header: dict[str, Any], resume: bool, order: Sequence[str]
    ):
        self.path, self.header, self.names = path, header, list(order)
        self.items: dict[str, dict[str, Any]] = {}
        if resume and path.is_file():
            self.items = json.loads(path.read_text())['items']

    def has(self, item: Item, fingerprint: str) -> bool:
        """Return whether an item was measured with these settings."""
        kept = self.items.get(item.name, {})
        return kept.get('fingerprint') == fingerprint and not kept.get('skipped')

    def keep(self, fingerprints: dict[str, str]) -> list[str]:
        """Drop all that was skipped, or measured otherwise; return names of the latter.

        Args:
            fingerprints: Fingerprint of every item as it would be measured now.
        """
        measured = {n: item for n, item in self.items.items() if not item['skipped']}
        self.items = {
            name: item
            for name, item in measured.items()
            if item['fingerprint'] == fingerprints.get(name)
        }
        return [name for name in measured if name not in self.items]

    def put(
        self,
        item: Item,
        fingerprint: str,
        rows: Sequence[Row] = (),
        seconds: float = 0.0,
        skipped: str | None = None,
    ) -> None:
        """Write the rows of an item, or why it has none."""
        self.items[item.name] = dict(
            suite=item.suite,
            about=item.about,
            headline=item.headline,
            fingerprint=fingerprint,
            seconds=round(seconds, 1),
            skipped=skipped,
            rows=[plain(asdict(row)) for row in rows],
        )
        self.write()

    def write(self) -> None:
        """Write the file in one step, items in the order of the suites."""
        self.items = dict(
            sorted(self.items.items(), key=lambda i: self.names.index(i[0]))
        )
        if dist.is_main_process():
            write_json(self.path, dict(schema=SCHEMA, **self.header, items=self.items))


def measure(
    context: Context,
    items: Sequence[Item],
    results: Results,
    say: Callable[[str], None],
) -> list[str]:
    """Measure items, and write their rows as soon as there are some.

    Args:
        context: Networks and images.
        items: Items to measure; those with results are skipped.
        results: Results to write to, on the main process.
        say: Function that prints a line.

    Returns:
        Names of the items that failed.
    """
    failed: list[str] = []
    pending = []
    for item in items:
        reason = item.missing(context)
        if results.has(item, fingerprint(context, item)):
            say(f'{item.name}: earlier result kept')
        elif reason:
            results.put(item, '', skipped=reason)
        else:
            pending.append(item)
    passes: dict[tuple[int, ...], list[ConditionItem]] = {}
    for item in pending:
        if isinstance(item, ConditionItem):
            chosen = context.indices(len(context.dataset), item.limit(context))
            passes.setdefault(tuple(chosen), []).append(item)

    def attempt(item: Item, work: Callable[[], None]) -> None:
        # If one of several processes skipped an error, the others would wait for it.
        if context.processes > 1:
            return work()
        try:
            work()
        except (InputError, UnsupportedError) as error:
            failed.append(item.name)
            results.put(item, '', skipped=f'failed: {error}')
            say(f'{item.name}: failed: {error}')

    for indices, together in passes.items():
        given = (indices, results, say)
        try:
            measure_conditions(context, together, *given)
        except (InputError, UnsupportedError):
            if context.processes > 1:
                raise
            for one in together:  # each by itself, to find the one that fails
                attempt(one, partial(measure_conditions, context, [one], *given))
    for item in pending:
        if isinstance(item, MeasuredItem) and (
            dist.is_main_process() or not item.alone
        ):
            attempt(item, partial(measure_item, context, item, results, say))
    dist.barrier()
    return failed


def measure_item(
    context: Context, item: MeasuredItem, results: Results, say: Callable[[str], None]
) -> None:
    """Measure an item that is measured by itself."""
    began = time.monotonic()
    rows = item.measure(context)
    seconds = time.monotonic() - began
    results.put(item, fingerprint(context, item), rows, seconds)
    say(f'{item.name}: {seconds:.0f} s')


def measure_conditions(
    context: Context,
    items: Sequence[ConditionItem],
    indices: Sequence[int],
    results: Results,
    say: Callable[[str], None],
) -> None:
    """Measure items of the same images in one pass."""
    began = time.monotonic()
    own = {item.name: list(item.conditions(context)) for item in items}
    conditions = [CLEAN, *(c for several in own.values() for c in several)]
    name = f'images of {", ".join(item.name for item in items)}'
    options = {name for item in items for name in item.options} - {'limit'}
    settings = [context.chosen(options), [c.name for c in conditions], indices]
    parts = context.parts('images', settings)
    done = parts.saved_indices()
    if done:
        say(f'{name}: earlier results of {len(done)} of {len(indices)} images kept')
    versions = tuple(c.version for c in conditions if c.version is not None)
    share = context.own_share(indices, done)
    with track('images', len(share)) as count:
        predict(
            context.networks,
            context.pictures(context.dataset, versions),
            conditions,
            parts,
            share,
            context.batch_size,
            context.workers,
            count=count,
        )
    dist.barrier()
    if not dist.is_main_process():
        return
    arrays = parts.collect()
    seconds = time.monotonic() - began
    for item in items:
        wanted = ['clean', *(c.name for c in own[item.name])]
        predictions = {
            (network, condition): Predictions.read(arrays, network, condition)
            for network in context.networks
            for condition in wanted
        }
        rows = item.rows(context, predictions)
        results.put(item, fingerprint(context, item), rows, seconds / len(items))
        save_images(context.out / 'images' / f'{item.name}.npz', arrays, predictions)
    say(f'{name}: {len(indices)} images, {seconds:.0f} s')


def save_images(path: Path, arrays: dict, predictions: dict) -> None:
    """Write a bit (right or wrong) and a confidence per image, network, condition."""
    path.parent.mkdir(exist_ok=True)
    content = {'index': arrays['index']}
    for (network, condition), own in predictions.items():
        content[f'{network}/{condition}/correct'] = own.correct()
        content[f'{network}/{condition}/confidence'] = own.confidence
    with atomic_write(path) as part, open(part, 'wb') as file:
        np.savez_compressed(file, **content)


def forward_seconds(context: Context) -> float:
    """Estimate the seconds of a forward pass per image by a measurement."""
    images = context.first_batch(16).images
    network = context.networks['model']
    with torch.no_grad():
        for _ in range(2):
            began = time.monotonic()
            network(images)[0, 0].item()
    return (time.monotonic() - began) / len(images)


def fingerprint(context: Context, item: Item) -> str:
    """Return 12 hex digits that change with anything the rows of an item depend on."""
    settings = [
        context.fingerprint,
        context.chosen(item.options),
        item.stamps(context),
        item.name,
    ]
    text = json.dumps(settings, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def plain(value: Any) -> Any:
    """Return a value with NumPy's numbers as Python's, and NaN as None."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, (np.floating, np.integer)):
        value = value.item()
    return None if value != value else value
