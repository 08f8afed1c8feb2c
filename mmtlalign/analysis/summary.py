"""The table of a quickstart run: what each start of the backbone led to."""

import os
import platform
from importlib import metadata

__all__ = ['COLUMNS', 'format_table', 'machine', 'table_rows', 'versions']

# Name in the summary -> head of the column.
COLUMNS = {
    'top1': 'top-1 %',
    'miou': 'mIoU %',
    'box_ap': 'box AP',
    'mask_ap': 'mask AP',
}
TASKS = ('pretrain', 'segment', 'detect')


def table_rows(results, starts):
    """Collect the results of the stages by the start of the backbone.

    Args:
        results (list[dict]): One entry a stage: ``start``, ``task``,
            ``metrics`` (names as in :data:`COLUMNS`) and ``seconds``.
        starts (dict[str, str]): Start -> name of its row, in order.

    Returns:
        list[dict]: A row for each start: ``start``, ``name``, every column
        (None where it was not measured) and ``seconds`` by task.
    """
    rows = []
    for start, name in starts.items():
        mine = [result for result in results if result['start'] == start]
        row = dict(start=start, name=name, **dict.fromkeys(COLUMNS))
        for result in mine:
            row.update(result['metrics'])
        row['seconds'] = {r['task']: round(r['seconds'], 1) for r in mine}
        rows.append(row)
    return rows


def format_table(rows):
    """Write the rows as a table for a terminal.

    Args:
        rows (list[dict]): Of :func:`table_rows`.

    Returns:
        str: Several lines; a dash stands for "not measured".
    """
    head = ['', *COLUMNS.values(), *(f'{task} s' for task in TASKS)]
    body = [
        [
            row['name'],
            *('–' if row[key] is None else f'{row[key]:.1f}' for key in COLUMNS),
            *(
                f'{row["seconds"][t]:.0f}' if t in row['seconds'] else '–'
                for t in TASKS
            ),
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *body)]
    lines = []
    for cells in [head, *body]:
        first, *rest = (c.rjust(w) for c, w in zip(cells, widths))
        lines.append('   '.join([first.strip().ljust(widths[0]), *rest]))
    lines.insert(1, '─' * len(lines[0]))
    return '\n'.join(lines)


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
