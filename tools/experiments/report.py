"""Report of a plan: table, curves, figures, and how they were made."""

import base64
import html
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from tools.analysis_tools.style import colour_of
from tools.experiments.jobs import Job
from tools.experiments.plan import Plan
from tools.experiments.progress import read_scalars
from tools.experiments.runner import PlanRunner
from tools.experiments.table import (
    caption,
    differences,
    rows_of_seeds,
    table_cells,
    table_rows,
)
from tools.machine import code_version, describe_machine, versions
from tools.output import format_table, write_json

# Colours that can be told apart as thin lines.
LINE_COLOURS = (0, 5, 3, 6, 1, 7)
ROOT = Path(__file__).resolve().parents[2]
STYLE = (
    'body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;'
    'padding:0 1rem}table{border-collapse:collapse}td,th{border:1px solid #ccc;'
    'padding:.3rem .6rem;text-align:right}td:first-child{text-align:left}'
    'img{max-width:100%}pre{background:#f4f4f4;padding:.6rem;overflow-x:auto}'
)


def summarise(runner: PlanRunner, seconds: float) -> dict:
    """Return everything that the report says, as plain data for ``summary.json``.

    Args:
        runner: All its jobs are done.
        seconds: What this run took.
    """
    plan, jobs = runner.plan, list(runner.jobs.values())
    columns, rows = table_rows(plan, jobs)
    return dict(
        columns=columns,
        table=rows,
        caption=caption(columns, rows),
        differences=differences(columns, rows, plan.control),
        seeds=list(plan.seeds),
        note=plan.note,
        seconds={job.name: round(job.state['seconds'], 1) for job in jobs},
        seconds_of_this_run=round(seconds, 1),
        commands={job.name: _commands(job) for job in jobs},
        command=os.environ.get('MMTLALIGN_COMMAND')
        or shlex.join(['python', *sys.argv]),
        at_a_time=runner.at_a_time,
        threads=runner.threads,
        code=code_version(ROOT),
        machine=describe_machine(),
        versions=versions(),
    )


def draw_curves(plan: Plan, jobs: Iterable[Job], path: Path) -> None:
    """Draw the training loss of every run, a panel a task.

    Args:
        plan: Names tasks and starts.
        jobs: Finished.
        path: PNG file.
    """
    runs = [job for job in jobs if job.cfg is not None]
    tasks = list(dict.fromkeys(job.task for job in runs))
    figure = Figure(figsize=(4.2 * len(tasks), 3.2), dpi=150, layout='constrained')
    axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axis, task in zip(axes, tasks):
        for number, (key, start) in enumerate(plan.starts.items()):
            same = [job for job in runs if (job.task, job.start) == (task, key)]
            for seed, job in enumerate(same):
                records = [r for r in read_scalars(job.folder) if 'loss' in r]
                axis.plot(
                    [r['step'] for r in records],
                    [r['loss'] for r in records],
                    color=colour_of(LINE_COLOURS[number % len(LINE_COLOURS)]),
                    linewidth=0.9,
                    label=None if seed else start.title,
                )
        axis.set_title(plan.tasks[task].title if task in plan.tasks else task)
        axis.set_xlabel('iteration')
        axis.legend(fontsize=7, frameon=False)
    axes[0].set_ylabel('training loss')
    figure.savefig(path)


def write_report(summary: dict, runner: PlanRunner) -> list[Path]:
    """Write ``summary.json``, ``table.txt``, ``report.md`` and ``report.html``.

    Args:
        summary: Table, settings and versions, from :func:`summarise`.
        runner: Its work directory gets the files.

    Returns:
        The files but the table.
    """
    folder = runner.work_dir
    curves = folder / 'curves.png'
    draw_curves(runner.plan, runner.jobs.values(), curves)
    images = [curves, *sorted(folder.glob('figures/*.png'))]
    write_json(folder / 'summary.json', summary)
    table = format_table(table_cells(summary['columns'], summary['table']))
    (folder / 'table.txt').write_text(table + '\n')
    text = report_text(summary, folder, images)
    (folder / 'report.md').write_text(text)
    # One file: the images are inside.
    body = MarkdownIt().enable('table').render(text)
    for image in images:
        data = base64.b64encode(image.read_bytes()).decode()
        name = f'src="{image.relative_to(folder)}"'
        body = body.replace(name, f'src="data:image/png;base64,{data}"')
    page = f'<!doctype html><meta charset="utf-8"><title>{html.escape(folder.name)}'
    (folder / 'report.html').write_text(f'{page}</title><style>{STYLE}</style>{body}')
    return [folder / name for name in ('report.md', 'report.html', 'summary.json')]


def report_text(summary: dict, folder: Path, images: Sequence[Path]) -> str:
    """Return the report in Markdown."""
    seeds, host = summary['seeds'], summary['machine']
    origin = dict(
        command=summary['command'],
        code=summary['code'],
        seeds=', '.join(map(str, seeds)),
        machine=f'{host["cores"]} cores, {host["processor"]}, {host["system"]}, '
        f'Python {host["python"]}',
        runs=f'{summary["at_a_time"]} at a time, {summary["threads"]} thread(s) each',
        versions=', '.join(f'{k} {v}' for k, v in summary['versions'].items()),
    )
    cells = table_cells(summary['columns'], summary['table'])
    parts = [f'## {folder.name}: one backbone, several starts', summary['note']]
    parts += [format_table(cells, markdown=True)]
    parts += [summary['caption']]
    if summary['differences']:
        cells = table_cells(summary['columns'], summary['differences'], sign=True)
        parts += ['The same, less the control of the same seed:']
        parts += [format_table(cells, markdown=True)]
    if len(seeds) > 1:
        cells = table_cells(summary['columns'], rows_of_seeds(summary['table']))
        parts += ['Seed by seed:', format_table(cells, markdown=True)]
    parts += [f'![{image.stem}]({image.relative_to(folder)})' for image in images]
    pages = sorted(folder.glob('*/microscope.html'))
    if pages:
        links = [f'[{p.parent.name}]({p.relative_to(folder)})' for p in pages]
        parts += [f'Where the labels of mixed images go: {", ".join(links)}.']
    lines = '\n'.join(f'{key:<9}{value}' for key, value in origin.items())
    parts += ['## How it was made', f'```\n{lines}\n```', '## Every job']
    for job, commands in summary['commands'].items():
        lines = '\n'.join(commands)
        parts += [f'{job}, {summary["seconds"][job]:.0f} s', f'```\n{lines}\n```']
    return '\n\n'.join(filter(None, parts)) + '\n'


def _commands(job: Job) -> list[str]:
    """Return the commands of a job from its log; several if it was resumed."""
    if not job.log.is_file():
        return []
    lines = job.log.read_text(errors='replace').splitlines()
    return [line[2:] for line in lines if line.startswith('$ ')]
