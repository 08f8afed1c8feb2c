"""What a training step costs with each mixer, alone, with TL-Align and with TransMix.

    python tools/benchmarks/benchmark_mixers.py                       # DeiT-S, Swin-T
    python tools/benchmarks/benchmark_mixers.py --write docs/mixing.md
    python tools/benchmarks/benchmark_mixers.py deit-small --mixers cutmix smmix

Time is that of mixing, forward and backward, as a ratio to plain CutMix: steps take
turns, and ratios are taken within a round. A cell has the median of the rounds and
their range. Memory is the peak that a step allocates beyond model and images, also as a
ratio. Every batch is mixed by the mixer of its row; the cost of a recipe that draws one
of two mixers is between their ratios.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.output import insert_between, write_json

# Imports of PyTorch come after the command line is read.

BEGIN = '<!-- made by: python tools/benchmarks/benchmark_mixers.py --write {} -->'
END = '<!-- end of the measurement -->'
NETWORKS = ['deit-small', 'swin-tiny']
HEADINGS = ['mixer', 'extra passes', 'extra parameters']
TITLES = dict(plain='alone', tlalign='TL-Align', transmix='TransMix')
EMPTY = '·'


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('networks', nargs='*', metavar='NETWORK', help=f'default: {" ".join(NETWORKS)}')
    add('--mixers', nargs='+', metavar='NAME', help='default: all')
    add('--targets', nargs='+', choices=TITLES, default=list(TITLES))
    add('--batch', type=int, default=8, help='batch size (default: 8)')
    add('--repeats', type=int, default=3, help='rounds (default: 3)')
    add('--threads', type=int, default=1, help='CPU threads (default: 1)')
    add('--device', default='cpu', choices=['cpu', 'cuda'])
    add('--precision', default='fp32', choices=['fp32', 'bf16'])
    add(
        '--write',
        metavar='PAGE',
        help='page to update, which must have both marker lines',
    )
    add(
        '--json', metavar='FILE', help='write all samples to FILE, in seconds and bytes'
    )
    options = parser.parse_args(arguments)
    options.networks = options.networks or NETWORKS
    for name in ('batch', 'repeats', 'threads'):
        if getattr(options, name) < 1:
            parser.error(f'--{name} {getattr(options, name)}: takes 1 or more')
    return options


def check_names(options: argparse.Namespace) -> None:
    """Check networks and mixers.

    Raises:
        SystemExit: One is not known; the message lists the known ones.
    """
    from tools.benchmarks.step.mixers import MIXERS
    from tools.benchmarks.step.models import MODELS

    options.mixers = options.mixers or list(MIXERS)
    for kind, given, known in (
        ('network', options.networks, MODELS),
        ('mixer', options.mixers, MIXERS),
    ):
        for name in given:
            if name not in known:
                sys.exit(
                    f'{kind} {name!r} is not known; choose from {", ".join(known)}.'
                )


def rows(found: dict, options: argparse.Namespace) -> list[list[str]]:
    """Return the rows of a table, one for each mixer.

    Args:
        found: Result of ``mixers.measure_cells``.
        options: With ``mixers`` and ``targets``.
    """
    from tools.benchmarks.step.mixers import MIXERS, Variant

    lines = []
    for name in options.mixers:
        cells = [found.get(Variant(name, target)) for target in options.targets]
        first = next(cell for cell in cells if cell)
        more = first['parameters']
        start = [MIXERS[name].title, f'{first["passes"]}', f'{more / 1e6:.1f} M']
        start[2] = start[2] if more else '0'
        times = [time_cell(cell) if cell else EMPTY for cell in cells]
        peaks = [f'{cell["memory"]:.2f}' if cell else EMPTY for cell in cells]
        lines.append([*start, *times, *peaks])
    return lines


def time_cell(cell: dict[str, Any]) -> str:
    """Return median and range of a ratio."""
    low, high = cell['range']
    return f'{cell["median"]:.2f} ({low:.2f}-{high:.2f})'


def table(found: dict, options: argparse.Namespace) -> str:
    """Return the Markdown table of a network."""
    headings = HEADINGS + [f'time, {TITLES[t]}' for t in options.targets]
    headings += [f'memory, {TITLES[t]}' for t in options.targets]
    lines = [headings, ['---'] * len(headings), *rows(found, options)]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def caption(name: str, found: dict, options: argparse.Namespace, where: dict) -> str:
    """Return a sentence on how a table was measured."""
    import torch

    from tools.benchmarks.step.mixers import CUTMIX, NO_TARGET, Variant

    seconds = sorted(found[Variant(CUTMIX, NO_TARGET)]['seconds'])
    peak = found[Variant(CUTMIX, NO_TARGET)]['peak'] / 2**20
    return (
        f'**{name}**, {options.batch} images, {options.precision}, {options.repeats} '
        f'rounds, {where.get("gpu", where["processor"])}, {options.threads} thread(s), '
        f'load {where["load_average"][0]}, torch {torch.__version__}. Plain CutMix: '
        f'{seconds[len(seconds) // 2]:.2f} s and {peak:,.0f} MiB a step.'
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write the tables."""
    options = parse_args(arguments)
    check_names(options)
    page = None
    if options.write:
        page = Path(options.write).read_text(encoding='utf-8')
        begin = BEGIN.format(options.write)
        insert_between(page, '', begin, END)  # fails now rather than after hours
    import torch

    from tools.benchmarks import timing
    from tools.benchmarks.step.mixers import cells_of, measure_cells
    from tools.benchmarks.step.models import MODELS, Case
    from tools.machine import describe_machine, versions

    timing.silence_hosts()
    where = describe_machine()
    if options.device == 'cuda':
        where['gpu'] = torch.cuda.get_device_name()
    parts, samples = [], {}
    for name in options.networks:
        network = MODELS[name]
        case = Case(
            name,
            network.size,
            network.tokens,
            options.batch,
            'step',
            options.precision,
            'stock',
            options.threads,
            options.device,
        )
        variants = cells_of(options.mixers, options.targets)
        found = measure_cells(network, case, variants, options.repeats)
        samples[name] = {f'{v.mixer} {v.target}': row for v, row in found.items()}
        parts += [caption(name, found, options, where), table(found, options)]
        print(*parts[-2:], sep='\n\n', end='\n\n', flush=True)
        if options.json:
            kept = dict(options=vars(options), machine=where, versions=versions())
            write_json(options.json, dict(**kept, networks=samples))
    if page is not None:
        text = insert_between(page, '\n\n'.join(parts), begin, END)
        Path(options.write).write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
