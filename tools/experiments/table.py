"""The table of a plan: metrics of each start, over the seeds."""

from collections.abc import Iterable, Sequence
from statistics import mean, stdev

from tools.experiments.jobs import Job
from tools.experiments.plan import Plan

NOT_MEASURED = '–'


def table_rows(plan: Plan, jobs: Iterable[Job]) -> tuple[list[str], list[dict]]:
    """Collect the metrics of all jobs, by the start of the backbone.

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
    order = {name: place for place, name in enumerate(plan.tasks, 1)}
    for job in sorted(jobs, key=lambda job: order.get(job.task, 0)):
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
        columns: Names of the columns with numbers.
        rows: Dicts of ``start``, ``name`` and ``values``, column -> seed -> number.
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


def caption(columns: Sequence[str], rows: Sequence[dict]) -> str:
    """Return the caption of the table, which says over which seeds it averages.

    Args:
        columns: Names of the columns with numbers.
        rows: Dicts of ``start``, ``name`` and ``values``, column -> seed -> number.
    """
    seeds = {column: set() for column in columns}
    for row in rows:
        for column, values in row['values'].items():
            seeds[column] |= set(values)
    texts = {c: ', '.join(sorted(s, key=int)) for c, s in seeds.items()}
    several = sorted({texts[c] for c in columns if len(seeds[c]) > 1})
    single = sorted({texts[c] for c in columns if len(seeds[c]) == 1})
    parts = [f'mean ± sample standard deviation over the seeds {t}' for t in several]
    parts += [f'without ±: seed {t} alone, so there is no spread' for t in single]
    text = '; '.join(parts)
    return f'{text[:1].upper()}{text[1:]}. Evaluated once, at the end of each run.'


def rows_of_seeds(rows: Sequence[dict]) -> list[dict]:
    """Return a row for each start and seed, in the form of :func:`table_rows`."""
    found = []
    for row in rows:
        seeds = {seed for values in row['values'].values() for seed in values}
        for seed in sorted(seeds, key=int):
            values = {
                column: {seed: given[seed]}
                for column, given in row['values'].items()
                if seed in given
            }
            found.append(dict(row, name=f'{row["name"]}, seed {seed}', values=values))
    return found


def table_cells(
    columns: Sequence[str], rows: Sequence[dict], sign: bool = False
) -> list[list[str]]:
    """Return the table as text, for :func:`tools.output.format_table`.

    Args:
        columns: Names of the columns with numbers.
        rows: Dicts of ``start``, ``name`` and ``values``, column -> seed -> number.
        sign: Whether to write a plus before what is not negative.
    """
    cells = [['', *columns]]
    for row in rows:
        values = [row['values'].get(column, {}).values() for column in columns]
        cells.append([row['name'], *(mean_and_spread(one, sign) for one in values)])
    return cells
