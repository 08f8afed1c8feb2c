"""The report of a plan: table, curves, pictures, and how it came about."""

import base64
import html
import os
import shlex
import sys
from pathlib import Path

from matplotlib.figure import Figure

from tools.analysis_tools.style import colour_of
from tools.experiments.progress import read_scalars
from tools.experiments.stages import write_json
from tools.experiments.summary import (
    differences,
    format_table,
    machine,
    markdown_table,
    source,
    table_rows,
    versions,
)

# Colours that stay apart as thin lines.
APART = (0, 5, 3, 6, 1, 7)
ROOT = Path(__file__).resolve().parents[2]
STYLE = (
    'body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;'
    'padding:0 1rem}table{border-collapse:collapse}td,th{border:1px solid #ccc;'
    'padding:.3rem .6rem;text-align:right}td:first-child{text-align:left}'
    'img{max-width:100%}pre{background:#f4f4f4;padding:.6rem;overflow-x:auto}'
)


def summarise(runner, seconds):
    """Everything that the report says, as plain data.

    Args:
        runner (PlanRunner): Whose jobs are all done.
        seconds (float): What this run took.

    Returns:
        dict: For ``summary.json``.
    """
    plan, jobs = runner.plan, list(runner.jobs.values())
    columns, rows = table_rows(plan, jobs)
    return dict(
        columns=columns,
        table=rows,
        differences=differences(columns, rows, plan.control),
        seeds=list(plan.seeds),
        note=plan.note,
        seconds={job.name: round(job.stage.state['seconds'], 1) for job in jobs},
        seconds_of_this_run=round(seconds, 1),
        commands={job.name: _commands(job) for job in jobs},
        command=os.environ.get('MMTLALIGN_COMMAND')
        or shlex.join(['python', *sys.argv]),
        at_a_time=runner.at_a_time,
        threads=runner.threads,
        code=source(ROOT),
        machine=machine(),
        versions=versions(),
    )


def draw_curves(plan, jobs, path):
    """Draw the training loss of every run, a panel a task.

    Args:
        plan (Plan): Names tasks and starts.
        jobs (Iterable[Job]): Finished.
        path (Path): Where the PNG goes.
    """
    runs = [job for job in jobs if job.cfg is not None]
    tasks = list(dict.fromkeys(job.task for job in runs))
    figure = Figure(figsize=(4.2 * len(tasks), 3.2), dpi=150, layout='constrained')
    axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axis, task in zip(axes, tasks):
        for number, (key, start) in enumerate(plan.starts.items()):
            mine = [job for job in runs if (job.task, job.start) == (task, key)]
            for seed, job in enumerate(mine):
                records = [r for r in read_scalars(job.stage.folder) if 'loss' in r]
                axis.plot(
                    [r['step'] for r in records],
                    [r['loss'] for r in records],
                    color=colour_of(APART[number % len(APART)]),
                    linewidth=0.9,
                    label=None if seed else start.title,
                )
        axis.set_title(plan.tasks[task].title if task in plan.tasks else task)
        axis.set_xlabel('iteration')
        axis.legend(fontsize=7, frameon=False)
    axes[0].set_ylabel('training loss')
    figure.savefig(path)


def write_report(summary, runner):
    """Write ``summary.json``, ``table.txt``, ``report.md`` and ``report.html``.

    Args:
        summary (dict): Of :func:`summarise`.
        runner (PlanRunner): Whose work directory gets the files.

    Returns:
        list[Path]: The files.
    """
    folder = runner.work_dir
    curves = folder / 'curves.png'
    draw_curves(runner.plan, runner.jobs.values(), curves)
    table = format_table(summary['columns'], summary['table'])
    pictures = [curves, *sorted(folder.glob('figures/*.png'))]
    blocks = list(_blocks(summary, pictures, folder))
    write_json(folder / 'summary.json', summary)
    (folder / 'table.txt').write_text(table + '\n')
    (folder / 'report.md').write_text('\n\n'.join(_markdown(*b) for b in blocks) + '\n')
    body = '\n'.join(_html(*block) for block in blocks)
    page = f'<!doctype html><meta charset="utf-8"><title>{html.escape(folder.name)}'
    (folder / 'report.html').write_text(f'{page}</title><style>{STYLE}</style>{body}\n')
    return [folder / name for name in ('report.md', 'report.html', 'summary.json')]


def _blocks(summary, pictures, folder):
    """The report as (kind, content), for Markdown and HTML alike."""
    seeds = summary['seeds']
    yield 'heading', f'{folder.name}: one backbone, several starts'
    if summary['note']:
        yield 'text', summary['note']
    yield 'table', (summary['columns'], summary['table'], False)
    told = f'Seed {seeds[0]} alone, so there is no spread.'
    if len(seeds) > 1:
        told = (
            f'Mean ± sample standard deviation over the seeds '
            f'{", ".join(map(str, seeds))}.'
        )
    yield 'text', told + ' Evaluated once, at the end of each run.'
    if summary['differences']:
        yield 'text', 'The same, less the control of the same seed:'
        yield 'table', (summary['columns'], summary['differences'], True)
    for picture in pictures:
        yield 'picture', (picture, picture.relative_to(folder))
    yield 'heading', 'How'
    host = summary['machine']
    facts = dict(
        command=summary['command'],
        code=summary['code'],
        seeds=', '.join(map(str, seeds)),
        machine=f'{host["cores"]} cores, {host["processor"]}, {host["system"]}, '
        f'Python {host["python"]}',
        runs=f'{summary["at_a_time"]} at a time, {summary["threads"]} thread(s) each',
        versions=', '.join(f'{k} {v}' for k, v in summary['versions'].items()),
    )
    yield 'code', '\n'.join(f'{key:<9}{value}' for key, value in facts.items())
    yield 'heading', 'Every stage'
    for stage, commands in summary['commands'].items():
        yield 'text', f'{stage}, {summary["seconds"][stage]:.0f} s'
        yield 'code', '\n'.join(commands)


def _commands(job):
    """What was run for a stage, as its log has it; several if it was resumed."""
    if not job.stage.log.is_file():
        return []
    lines = job.stage.log.read_text(errors='replace').splitlines()
    return [line[2:] for line in lines if line.startswith('$ ')]


def _markdown(kind, content):
    if kind == 'heading':
        return f'## {content}'
    if kind == 'table':
        return markdown_table(*content)
    if kind == 'picture':
        return f'![{content[0].stem}]({content[1]})'
    if kind == 'code':
        return f'```\n{content}\n```'
    return content


def _html(kind, content):
    if kind == 'heading':
        return f'<h2>{html.escape(content)}</h2>'
    if kind == 'picture':
        data = base64.b64encode(content[0].read_bytes()).decode()
        return f'<img alt="{content[0].stem}" src="data:image/png;base64,{data}">'
    if kind == 'code':
        return f'<pre>{html.escape(content)}</pre>'
    if kind == 'text':
        return f'<p>{html.escape(content)}</p>'
    head, _, *body = markdown_table(*content).splitlines()
    rows = [head, *body]
    cut = [[html.escape(cell) for cell in row[2:-2].split(' | ')] for row in rows]
    lines = [f'<tr><th>{"</th><th>".join(cut[0])}</th></tr>']
    lines += [f'<tr><td>{"</td><td>".join(row)}</td></tr>' for row in cut[1:]]
    return f'<table>{"".join(lines)}</table>'
