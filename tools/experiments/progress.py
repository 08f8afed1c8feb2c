"""How far training runs in other processes are, read from what mmengine writes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tools.output import Progress


class TimeLeftColumn(TimeRemainingColumn):
    """Estimated time that is left, once there is an estimate."""

    def render(self, task: Task) -> Text:
        """Return ``'0:01:00 left'``, or nothing."""
        left = task.time_remaining
        return super().render(task).append(' left') if left else Text('')


class RunProgress(Progress):
    """Progress of the training runs that are going on, a line each.

    Args:
        console: Where to draw. Defaults to standard output.
        interval: Seconds between two outputs if that is no terminal.
        **options: Other arguments of ``rich.progress.Progress``.
    """

    def __init__(
        self, console: Console | None = None, interval: float = 20.0, **options: Any
    ):
        super().__init__(
            TextColumn('{task.description}', markup=False),
            BarColumn(20),
            TaskProgressColumn(),
            TextColumn('{task.fields[status]}'),
            TimeElapsedColumn(),
            TimeLeftColumn(),
            console=console,
            interval=interval,
            transient=True,
            speed_estimate_period=600,
            **options,
        )
        self.folders = {}

    def add_run(self, title: str, folder: Path, total: int) -> None:
        """Add the line of a run.

        Args:
            title: Stands in front.
            folder: Work directory of the run.
            total: Iterations of the run; 0 where there is nothing to count.
        """
        status = 'starting' if total else 'working'
        task = self.add_task(title, total=total or None, status=status)
        self.folders[task] = folder

    def remove_run(self, folder: Path) -> None:
        """Remove the line of a run."""
        for task in [t for t, known in self.folders.items() if known == folder]:
            self.remove_task(task)
            del self.folders[task]

    def read_runs(self) -> None:
        """Read the newest records of all runs, and show them."""
        totals = {task.id: task.total for task in self.tasks}
        for task, folder in self.folders.items():
            changes = {}
            records = [r for r in read_scalars(folder) if 'loss' in r]
            if records and totals[task]:
                step, loss = records[-1]['step'], records[-1]['loss']
                over = step >= totals[task]
                status = 'evaluating' if over else f'loss {loss:.3f}'
                changes = dict(completed=step, status=status)
            self.update(task, **changes)


def read_scalars(folder: Path) -> list[dict]:
    """Return the newest records of a run of mmengine, in order.

    Args:
        folder: Work directory of the run.
    """
    files = sorted(Path(folder).glob('*/vis_data/scalars.json'))
    return read_records(files[-1]) if files else []


def read_records(file: Path) -> list[dict]:
    """Return the records of a file of mmengine, one a line, in order."""
    records = []
    for line in file.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            # The line that is being written just now.
            break
    return records


def last_metrics(folder: Path, names: Mapping[str, str]) -> dict[str, float]:
    """Return the metrics of the last evaluation of a run.

    Args:
        folder: Work directory of the run.
        names: Key of the result to mmengine's name of the metric.

    Raises:
        LookupError: The run did not measure one of them.
    """
    for record in reversed(read_scalars(folder)):
        if any(name in record for name in names.values()):
            return {key: record[name] for key, name in names.items()}
    raise LookupError(
        f'{folder} has no record of {", ".join(names.values())}: the run ended before '
        'its evaluation; run it again'
    )


def metric_by_step(folder: Path, name: str) -> dict[str, float]:
    """Return a metric of the evaluations of a run, by epoch or iteration.

    Args:
        folder: Work directory of the run; it may have been resumed.
        name: mmengine's name of the metric.
    """
    found = {}
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        for record in read_records(file):
            if name in record:
                found[int(record['step'])] = round(record[name], 4)
    return {str(step): found[step] for step in sorted(found)}
