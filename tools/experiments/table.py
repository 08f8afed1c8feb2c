"""The table of a plan: what each start of the backbone led to, over the seeds."""

from collections.abc import Iterable, Sequence
from statistics import mean, stdev

from tools.experiments.jobs import Job
from tools.experiments.plan import Plan

NOT_MEASURED = '–'


def table_rows(plan: Plan, jobs: Iterable[Job]) -> tuple[list[str], list[dict]]:
    """Collect what was measured, by the start of the backbone.

    Args:
        plan: Its starts are the rows.
        jobs: Finished; those that measured something are read.

    Returns:
        The columns, and for each start a row: ``start``, ``name`` and ``values``,
        column to seed to value. What was not measured is not in it.
    """
    columns = []
    rows = {
        key: dict(start=key, name=start.title, values={})
        for key, start in plan.starts.items()
    }
    for job in jobs:
        for name, value in job.state['metrics'].items():
            title = plan.tasks[job.task].title if job.task in plan.tasks else None
            column = f'{title}: {name}' if title else name
            if column not in columns:
                columns.append(column)
            values = rows[job.start]['values'].setdefault(column, {})
            values[str(job.seed)] = value
    return columns, list(rows.values())


def differences(
    columns: Sequence[str], rows: Sequence[dict], control: str | None
) -> list[dict]:
    """Compare every row with the control, seed by seed.

    Args:
        columns: As of :func:`table_rows`.
        rows: As of :func:`table_rows`.
        control: Its ``start``; None if there is none.

    Returns:
        Rows of differences; none without a control.
    """
    base = next((row['values'] for row in rows if row['start'] == control), None)
    found = []
    for row in rows if base is not None else ():
        if row['start'] == control:
            continue
        values = {
            column: {
                seed: round(value - base[column][seed], 2)
                for seed, value in row['values'][column].items()
                if seed in base[column]
            }
            for column in columns
            if column in row['values'] and column in base
        }
        found.append(dict(row, name=f'{row["name"]} − control', values=values))
    return found


def mean_and_spread(values: Sequence[float], sign: bool = False) -> str:
    """Return the mean over the seeds, and their standard deviation if several.

    Args:
        values: One for each seed; may be empty.
        sign: Whether to write a plus before what is not negative.

    Returns:
        ``'83.7'``, ``'83.7 ± 0.4'`` (sample standard deviation) or a dash.
    """
    values = list(values)
    if not values:
        return NOT_MEASURED
    text = f'{mean(values):{"+" if sign else ""}.1f}'
    return text if len(values) == 1 else f'{text} ± {stdev(values):.1f}'


def table_cells(
    columns: Sequence[str], rows: Sequence[dict], sign: bool = False
) -> list[list[str]]:
    """Return the table as text, for :func:`tools.output.format_table`.

    Args:
        columns: As of :func:`table_rows`.
        rows: As of :func:`table_rows`.
        sign: Whether to write a plus before what is not negative.
    """
    cells = [['', *columns]]
    for row in rows:
        values = [row['values'].get(column, {}).values() for column in columns]
        cells.append([row['name'], *(mean_and_spread(one, sign) for one in values)])
    return cells
