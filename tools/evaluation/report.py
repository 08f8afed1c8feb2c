"""The report of an evaluation: tables, curves and protocols in one file."""

import base64
import csv
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmtlalign.compat.files import atomic_write
from tools.analysis_tools.style import colour_of
from tools.evaluation.context import Context, sha256
from tools.evaluation.labels import RANDOM
from tools.evaluation.rows import CONTROL, DIFFERENCE, MODEL
from tools.evaluation.run import Results
from tools.machine import code_version, describe_machine, versions
from tools.output import format_table

ROOT = Path(__file__).resolve().parents[2]
STYLE = (
    'body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;'
    'padding:0 1rem;color:#222}table{border-collapse:collapse;margin:1rem 0}'
    'td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:right}'
    'td:first-child,th:first-child{text-align:left}img{max-width:100%}'
    'pre{background:#f4f4f4;padding:.6rem;overflow-x:auto}'
    '@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}'
    'pre{background:#222}td,th{border-color:#444}img{background:#fff}}'
)
# Keys of a protocol that describe a curve rather than how it was measured.
NETWORKS = (MODEL, CONTROL, RANDOM)
CURVE_KEYS = ('x', 'x_label', 'curve')
TITLES = dict(
    robustness='Robustness',
    occlusion='Occlusion and shuffling',
    attention='Attention quality',
    labels='Where labels go',
    cost='Parameters, operations, throughput',
)


def header(context: Context, command: str) -> dict[str, Any]:
    """Return the metadata at the top of ``results.json``."""
    return dict(
        config=context.config,
        checkpoints={
            name: dict(
                file=path, sha256=sha256(path), weights=context.descriptions[name]
            )
            for name, path in context.checkpoints.items()
        },
        parameters=sum(p.numel() for p in context.classifiers['model'].parameters()),
        command=command,
        code=code_version(ROOT),
        machine=describe_machine(),
        device=str(context.device),
        versions=versions(),
    )


def write(context: Context, results: Results) -> list[Path]:
    """Write curves, ``report.md`` and ``report.html``; return the files to open."""
    draw_curves(results, context.out / 'curves')
    images = sorted((context.out / 'curves').glob('*.png'))
    text = report_text(results, images, context.out)
    body = MarkdownIt('commonmark', dict(html=False)).enable('table').render(text)
    for image in images:
        data = base64.b64encode(image.read_bytes()).decode()
        name = f'src="{image.relative_to(context.out)}"'
        body = body.replace(name, f'src="data:image/png;base64,{data}"')
    title = html.escape(Path(context.config).stem)
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<title>{title}: evaluation</title><style>{STYLE}</style>{body}</html>'
    )
    for name, content in (('report.md', text), ('report.html', page)):
        with atomic_write(context.out / name) as part:
            part.write_text(content, encoding='utf-8')
    return [results.path, context.out / 'report.html']


def report_text(results: Results, images: Sequence[Path], folder: Path) -> str:
    """Return the report in Markdown, with the numbers of ``results.json``."""
    top = results.header
    parts = [f'# Evaluation of {Path(top["config"]).stem}']
    parts += [
        f'{name}: {found["weights"]}' for name, found in top['checkpoints'].items()
    ]
    parts += summary(results)
    for suite, title in TITLES.items():
        own = {n: i for n, i in results.items.items() if i['suite'] == suite}
        if not own:
            continue
        parts += [f'## {title}']
        for name, item in own.items():
            parts += [f'### {name}', f'{item["about"][:1].upper()}{item["about"][1:]}.']
            if item['skipped']:
                parts += [f'Not measured: {item["skipped"]}']
                continue
            parts += item_text(item)
            page = folder / f'{name}.html'
            if page.is_file():
                parts += [f'[Open {page.name}]({page.name})']
            parts += [
                f'![{image.stem}]({image.relative_to(folder)})'
                for image in images
                if image.stem == name
            ]
    host = top['machine']
    made = dict(
        command=top['command'],
        code=top['code'],
        machine=f'{host["cores"]} cores, {host["processor"]}, {host["system"]}',
        device=top['device'],
        versions=', '.join(f'{k} {v}' for k, v in top['versions'].items()),
    )
    lines = '\n'.join(f'{key:<9}{value}' for key, value in made.items())
    parts += ['## How it was made', f'```\n{lines}\n```']
    return '\n\n'.join(parts) + '\n'


def summary(results: Results) -> list[str]:
    """Return a table with the first number of every item."""
    first = []
    for name, item in results.items.items():
        if not item['rows'] or item['headline'] is None:
            continue
        head = item['headline'] or item['rows'][0]['setting']
        own = [row for row in item['rows'] if row['setting'] == head]
        metric = next(iter(own[0]['metrics']))
        for row in own:
            if metric in row['metrics']:
                title = ', '.join(filter(None, (name, head)))
                metrics = {metric: row['metrics'][metric]}
                first.append(dict(row, setting=title, metrics=metrics))
    return [format_table(cells_of(first), True, left=(0, 1))] if first else []


def item_text(item: dict[str, Any]) -> list[str]:
    """Return table, protocol and warnings of one item."""
    rows = [row for row in item['rows'] if not row['detail']]
    parts = [format_table(cells_of(rows), True, left=(0, 1))]
    protocol, notes, sources = {}, [], []
    for row in item['rows']:
        protocol.update(
            {k: v for k, v in row['protocol'].items() if k not in CURVE_KEYS}
        )
        notes += row['notes']
        if row['reference']:
            sources.append(
                f'{row["setting"] or "published"}: {row["reference"]["value"]} '
                f'({row["reference"]["source"]})'
            )
    if any(row['standard_error'] is not None for row in rows):
        protocol['±'] = 'standard error of the images'
    if any(row['interval'] is not None for row in rows):
        protocol['in brackets'] = '95 % interval'
    if any(row['spread'] is not None for row in rows):
        protocol['sd'] = 'over the draws'
    if any(row['p'] is not None for row in rows):
        protocol['p'] = "McNemar's exact test"
    if len(rows) < len(item['rows']):
        protocol['details'] = 'results.json'
    if protocol:
        parts += ['; '.join(f'{key}: {value}' for key, value in protocol.items()) + '.']
    parts += [f'**Note.** {note}' for note in dict.fromkeys(notes)]
    parts += [f'For comparison: {source}' for source in dict.fromkeys(sources)]
    return parts


def cells_of(rows: Sequence[dict]) -> list[list[str]]:
    """Return a table with a row per setting and metric, and a column per network."""
    networks = list(dict.fromkeys(row['network'] for row in rows))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    images: dict[tuple[str, str], int] = {}
    for row in rows:
        for place, (metric, value) in enumerate(row['metrics'].items()):
            key = (row['setting'], metric)
            text = number(value) + (uncertainty(row) if place == 0 else '')
            lines.setdefault(key, {})[row['network']] = text
            images[key] = row['n']
    cells = [['', '', *networks, 'n']]
    for (setting, metric), found in lines.items():
        own = [found.get(network, '–') for network in networks]
        cells.append([setting, metric, *own, str(images[setting, metric])])
    if not any(line[0] for line in cells):
        cells = [line[1:] for line in cells]
    return cells


def number(value: float | None) -> str:
    """Return a number with a sensible number of digits; a dash for None."""
    if value is None:
        return '–'
    if abs(value) >= 1000:
        return f'{value:,.0f}'
    return f'{value:.2f}' if abs(value) >= 1 or value == 0 else f'{value:.3g}'


def uncertainty(row: dict[str, Any]) -> str:
    """Return the uncertainty to write after the first metric of a row."""
    text = ''
    if row['standard_error'] is not None:
        text += f' ± {number(row["standard_error"])}'
    if row['interval'] is not None:
        text += ' ({} to {})'.format(*map(number, row['interval']))
    if row['spread'] is not None:
        text += f' (sd {number(row["spread"])})'
    if row['p'] is not None:
        text += f' (p = {row["p"]:.2g})'
    return text


def draw_curves(results: Results, folder: Path) -> None:
    """Draw each item whose rows have an ``x`` in their protocol, and write its numbers.

    Several curves over the same axis get a panel for each network; a single curve, and
    curves over different axes, get a panel each.
    """
    for name, item in results.items.items():
        rows = [row for row in item['rows'] if 'x' in row['protocol']]
        rows = [row for row in rows if row['network'] != DIFFERENCE]
        if not rows:
            continue
        rows.sort(key=lambda row: row['protocol']['x'])
        metric = next(iter(rows[0]['metrics']))
        curves = list(dict.fromkeys(row['protocol'].get('curve', '') for row in rows))
        networks = [n for n in NETWORKS if any(row['network'] == n for row in rows)]
        labels = {row['protocol'].get('x_label', '') for row in rows}
        by_network = len(curves) > 1 and len(labels) == 1
        panels, lines = (networks, curves) if by_network else (curves, networks)
        folder.mkdir(exist_ok=True)
        width = 0.8 + 3.6 * len(panels)
        figure = Figure(figsize=(width, 3.3), dpi=150, layout='constrained')
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axis, panel in zip(axes, panels):
            for place, line in enumerate(lines):
                network, curve = (panel, line) if by_network else (line, panel)
                own = [
                    row
                    for row in rows
                    if row['network'] == network
                    and row['protocol'].get('curve', '') == curve
                ]
                if own:
                    draw_line(axis, own, metric, line, place)
                    axis.set_xlabel(own[0]['protocol'].get('x_label', ''))
            if len(panels) > 1:
                axis.set_title(panel, fontsize=9)
        axes[0].set_ylabel(metric)
        axes[0].legend(fontsize=7, frameon=False)
        figure.savefig(folder / f'{name}.png')
        write_csv(folder / f'{name}.csv', rows, metric)


def draw_line(
    axis: Axes, rows: list[dict], metric: str, label: str, place: int
) -> None:
    """Draw a line with a band: the spread over the draws, or the standard error."""
    x = [row['protocol']['x'] for row in rows]
    y = [row['metrics'][metric] for row in rows]
    width = [row['spread'] or row['standard_error'] or 0 for row in rows]
    colour = colour_of((0, 5, 3, 6, 1, 7)[place % 6])
    axis.plot(x, y, color=colour, label=label, marker='.', linewidth=1.2)
    low, high = ([a + s * w for a, w in zip(y, width)] for s in (-1, 1))
    axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def write_csv(path: Path, rows: list[dict], metric: str) -> None:
    """Write the numbers of the curves of an item."""
    with open(path, 'w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['curve', 'network', 'x', metric, 'standard error', 'sd'])
        for row in rows:
            protocol = row['protocol']
            place = (protocol.get('curve', ''), row['network'], protocol['x'])
            errors = (row['standard_error'], row['spread'])
            table.writerow([*place, row['metrics'][metric], *errors])
