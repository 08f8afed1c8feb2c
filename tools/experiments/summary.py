"""The table of a plan: what each start of the backbone led to, over the seeds."""

import os
import platform
import subprocess
from importlib import metadata
from statistics import mean, stdev

NOTHING = '–'


def table_rows(plan, jobs):
    """Collect what was measured, by the start of the backbone.

    Args:
        plan (Plan): Its starts are the rows.
        jobs (Iterable[Job]): Finished; those that measured something are read.

    Returns:
        tuple[list[str], list[dict]]: The columns, and a row for each start:
        ``start``, ``name`` and ``values``, column -> seed -> value. What was not
        measured is not in it.
    """
    columns, rows = [], {}
    for key, start in plan.starts.items():
        rows[key] = dict(start=key, name=start.title, values={})
    for job in jobs:
        for name, value in job.stage.state['metrics'].items():
            title = plan.tasks[job.task].title if job.task in plan.tasks else None
            column = f'{title}: {name}' if title else name
            if column not in columns:
                columns.append(column)
            values = rows[job.start]['values'].setdefault(column, {})
            values[str(job.seed)] = value
    return columns, list(rows.values())


def differences(columns, rows, control):
    """Compare every row with the control, seed by seed.

    Args:
        columns (list[str]): Of :func:`table_rows`.
        rows (list[dict]): Of :func:`table_rows`.
        control (str | None): Its ``start``; None if there is none.

    Returns:
        list[dict]: Rows as those given, of differences; empty without a control.
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


def spread(values, sign=False):
    """Mean of the seeds, and their standard deviation where there are several.

    Args:
        values (Sequence[float]): One for each seed; may be empty.
        sign (bool): Whether to write a plus before what is not negative.

    Returns:
        str: ``'83.7'``, ``'83.7 ± 0.4'`` (sample standard deviation) or a dash.
    """
    values = list(values)
    if not values:
        return NOTHING
    text = f'{mean(values):{"+" if sign else ""}.1f}'
    return text if len(values) == 1 else f'{text} ± {stdev(values):.1f}'


def cells(columns, rows, sign=False):
    """The rows as lists of text, the name first."""
    found = []
    for row in rows:
        values = [row['values'].get(column, {}).values() for column in columns]
        found.append([row['name'], *(spread(one, sign) for one in values)])
    return found


def format_table(columns, rows):
    """Write the rows as a table for a terminal.

    Args:
        columns (list[str]): Of :func:`table_rows`.
        rows (list[dict]): Of :func:`table_rows`.

    Returns:
        str: Several lines; a dash stands for "not measured".
    """
    table = [['', *columns], *cells(columns, rows)]
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = []
    for first, *rest in table:
        right = (cell.rjust(width) for cell, width in zip(rest, widths[1:]))
        lines.append('   '.join([first.ljust(widths[0]), *right]))
    lines.insert(1, '─' * len(lines[0]))
    return '\n'.join(lines)


def markdown_table(columns, rows, sign=False):
    """Write the rows as a Markdown table; arguments as :func:`format_table`."""
    lines = [['', *columns], ['---'] * (len(columns) + 1), *cells(columns, rows, sign)]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def source(root):
    """Which state of the code ran, as far as git knows.

    Args:
        root (Path): Top of the project.

    Returns:
        str: A commit, with a note if files were changed since; or a version.
    """
    try:
        commit, changed = (
            subprocess.run(
                ['git', '-C', str(root), *words],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for words in (['rev-parse', 'HEAD'], ['status', '--porcelain', '-uno'])
        )
    except (OSError, subprocess.CalledProcessError):
        return 'version ' + versions().get('mmtlalign', 'unknown')
    return commit[:12] + (' with changes' if changed else '')


def machine():
    """Describe the machine that the seconds were measured on.

    Returns:
        dict: Cores that this process may use, processor, load and system.
    """
    return dict(
        cores=len(os.sched_getaffinity(0)),
        processor=_processor(),
        load_average=[round(load, 2) for load in os.getloadavg()],
        system=platform.platform(),
        python=platform.python_version(),
    )


def versions():
    """Versions of what the numbers depend on.

    Returns:
        dict[str, str]: Distribution -> version, of those that are installed.
    """
    names = ['torch', 'timm', 'numpy', 'scikit-learn', 'pillow', 'mmtlalign']
    for host in ('mmcv', 'mmengine', 'mmpretrain', 'mmdet', 'mmsegmentation'):
        names += [host, f'onedl-{host}']
    names += ['onedl-mmdetection', 'mmcv-lite']
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor():
    try:
        with open('/proc/cpuinfo') as lines:
            for line in lines:
                if line.startswith('model name'):
                    return line.split(':', 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
