"""Units: a start with a seed, trained and evaluated, and its result as one JSON file.

A plan with ``results`` has a unit for each start and seed. Its file is small enough to
be committed and says all that a table needs, so runs of days are done in parts, on any
machine, and a unit whose file is there is never run again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.device import get_device

from mmtlalign.errors import InputError
from tools.experiments.jobs import Job, fingerprint
from tools.experiments.measured import RESULTS
from tools.experiments.plan import Plan, find_config
from tools.experiments.plan_jobs import PRETRAIN
from tools.experiments.progress import metric_by_step
from tools.machine import SOURCES, code_version, describe_machine, versions
from tools.output import write_json

if TYPE_CHECKING:
    from tools.experiments.runner import PlanRunner

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = 2
TOP1 = 'accuracy/top1'


@dataclass(frozen=True)
class Unit:
    """One start with one seed.

    Attributes:
        start: Short name of the start.
        seed: The seed.
        path: Its JSON file.
        jobs: Names of its jobs: the training, then the suites.
        fingerprint: Digest of configs, options, seed and suites; the data folder does
            not count.
    """

    start: str
    seed: int
    path: Path
    jobs: tuple[str, ...]
    fingerprint: str

    @property
    def name(self) -> str:
        """Name of the unit and of its file."""
        return self.path.stem


def find_units(runner: PlanRunner) -> dict[str, Unit]:
    """Return the units of a plan, by name, in the order in which they run.

    Raises:
        InputError: The file of one holds the result of other settings.
    """
    found = {}
    for seed in runner.plan.seeds:
        for start in runner.plan.starts:
            name = f'{start}-seed{seed}'
            own = [
                job.name
                for job in runner.jobs.values()
                if (job.start, job.seed) == (start, seed)
            ]
            path = ROOT / runner.plan.results / f'{name}.json'
            digest = unit_fingerprint(runner, start, seed)
            found[name] = Unit(start, seed, path, tuple(own), digest)
    for unit in found.values():
        if unit.path.is_file():
            check_unit(read_unit(unit.path), unit)
    return found


def unit_fingerprint(runner: PlanRunner, start: str, seed: int) -> str:
    """Return a digest of 16 digits of all settings that the result depends on."""
    plan, origin = runner.plan, runner.plan.starts[start]
    # ``{data}`` stays as it is: not where the pictures lie, but which they are.
    trained = [(origin.config, plan.options_of(start))] if origin.config else []
    trained += [
        (task.config, {**plan.options, **task.options})
        for task in plan.tasks.values()
        if task.config
    ]
    configs = [
        runner.listing.load_config(find_config(config), options).to_dict()
        for config, options in trained
    ]
    suites = [
        (name, task.suite, task.items, task.arguments, task.after)
        for name, task in plan.tasks.items()
        if task.suite and origin.config
    ]
    return fingerprint(configs, origin.checkpoint, seed, plan.arguments, suites)


def read_unit(path: Path) -> dict[str, Any]:
    """Read the file of a unit.

    Raises:
        InputError: It is no such file, or of another version of this tool.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        schema = content['schema']
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{path} is not a valid result of a unit ({type(error).__name__}: '
            f'{error}). Restore it, or remove it and run the unit again.'
        ) from error
    if schema != SCHEMA:
        raise InputError(
            f'{path} has schema {schema}, and this version reads {SCHEMA}. Remove it '
            'and run the unit again.'
        )
    return content


def check_unit(content: dict[str, Any], unit: Unit) -> None:
    """Check that a result is of the settings that the plan has now.

    Raises:
        InputError: It is of others.
    """
    if content['fingerprint'] != unit.fingerprint:
        raise InputError(
            f'{unit.path} was measured with other settings (fingerprint '
            f'{content["fingerprint"]}) than the plan has now ({unit.fingerprint}). '
            'Undo the change of the plan or its configs, or remove the file and run '
            'the unit again.'
        )


def write_unit(runner: PlanRunner, unit: Unit) -> Path:
    """Write the file of a unit whose jobs are done, and return its path."""
    plan, start = runner.plan, runner.plan.starts[unit.start]
    jobs = [runner.jobs[name] for name in unit.jobs]
    files = {job.task: job.folder / RESULTS for job in jobs}
    results = {t: json.loads(f.read_text()) for t, f in files.items() if f.is_file()}
    top1 = [metric_by_step(job.folder, TOP1) for job in jobs if job.task == PRETRAIN]
    content = dict(
        schema=SCHEMA,
        plan=Path(plan.results).name,
        start=unit.start,
        title=start.title,
        seed=unit.seed,
        fingerprint=unit.fingerprint,
        config=start.config,
        options=plan.options_of(unit.start),
        arguments=list(plan.arguments),
        parameters=next((one['parameters'] for one in results.values()), None),
        top1_by_epoch=top1[0] if top1 else {},
        metrics=dict(_metrics(plan, jobs)),
        rows=list(_rows(results)),
        not_measured={
            name: item['skipped']
            for result in results.values()
            for name, item in result['items'].items()
            if item['skipped']
        },
        correct=read_predictions(job.folder for job in jobs),
        seconds={job.task: round(job.state['seconds']) for job in jobs},
        code=code_version(ROOT),
        sources=_sources(plan, jobs),
        device=get_device(),
        threads=runner.threads,
        machine=describe_machine(),
        versions=versions(),
    )
    unit.path.parent.mkdir(parents=True, exist_ok=True)
    write_json(unit.path, content)
    return unit.path


def _metrics(plan: Plan, jobs: Iterable[Job]) -> Iterable[tuple[str, float]]:
    """Yield column and value of every metric of the tasks."""
    for job in (job for job in jobs if job.task in plan.tasks):
        title = plan.tasks[job.task].title
        for name, value in job.state['metrics'].items():
            yield f'{title}: {name}' if title else name, round(value, 4)


def _sources(plan: Plan, jobs: Iterable[Job]) -> dict[str, str]:
    """Return the digests of the code of the trainings and of the suites.

    Several of one kind, joined by ``+``, are of a unit that was made by two versions.
    """
    found: dict[str, set[str]] = {kind: set() for kind in SOURCES}
    for job in jobs:
        found[plan.kind_of(job.task)].update(job.state.get('sources', ['unknown']))
    return {kind: '+'.join(sorted(names)) for kind, names in found.items() if names}


def _rows(results: Mapping[str, dict]) -> Iterable[dict]:
    """Yield the rows of the suites for the network itself, without details."""
    for task, result in results.items():
        for name, item in result['items'].items():
            for row in item['rows']:
                if row['network'] == 'model' and not row['detail']:
                    metrics = {
                        k: v if v is None else round(v, 4)
                        for k, v in row['metrics'].items()
                    }
                    place = dict(task=task, item=name, setting=row['setting'])
                    yield dict(place, n=row['n'], metrics=metrics)


def read_predictions(folders: Iterable[Path]) -> dict[str, Any] | None:
    """Return which images of the test set are named rightly; None if no suite says.

    Args:
        folders: Of the suites.

    Returns:
        ``n`` and ``bits``: a bit an image, in its order, as base64 of whole bytes.
    """
    for folder in folders:
        path = folder / 'images/clean.npz'
        if path.is_file():
            with np.load(path) as arrays:
                order = np.argsort(arrays['index'])
                correct = arrays['model/clean/correct'][order].astype(bool)
            bits = base64.b64encode(np.packbits(correct)).decode()
            return dict(n=len(correct), bits=bits)
    return None


def unpack_predictions(packed: dict[str, Any]) -> np.ndarray:
    """Return the predictions packed by :func:`read_predictions`, bool (n,)."""
    data = np.frombuffer(base64.b64decode(packed['bits']), np.uint8)
    return np.unpackbits(data, count=packed['n']).astype(bool)
