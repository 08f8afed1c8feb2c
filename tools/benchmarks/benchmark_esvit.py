r"""Measure EsViT's region loss, beside a direct implementation of its formulas.

    python tools/benchmarks/benchmark_esvit.py                # a minute on one core
    python tools/benchmarks/benchmark_esvit.py --device cuda --amp --tokens 49 196 \
        --batch 32 --prototypes 65536 --channels 768 --arch tiny --step-batch 32 \
        --repeats 20

With --largest-batch it also measures what the region loss adds to the view loss, for
batches of 1, 2, 4, ... images until memory runs out or that number is reached: forward
and backward of a whole step with both losses (V+R), divided by one without regions (V).

Ours has crops of one size in one batch, and similarities and cross-entropy in chunks.
The direct implementation follows the formulas, one crop and one pair of crops at a
time, with the whole matrix of similarities and gradients by autograd. Both get the same
features and logits of two global and eight local crops. In the whole step both have
the same networks, with ``FastAttentionHook`` as in the recipes of Swin.

The implementations take turns; every figure is the median of the rounds and, in
brackets, their quartiles; a ratio is the direct implementation divided by ours. Peak
memory is what a call allocates beyond its inputs, and its growth is the exponent p of
tokens^p from one number of tokens to the next: 1 is linear, 2 is quadratic. Ours, too,
computes similarities below the size of a chunk, 16 MiB, at once. --json writes all
samples.
"""

import argparse
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor

from mmtlalign.methods.esvit.loss import (
    Views,
    match_regions,
    region_loss,
    teacher_probabilities,
)
from tools.benchmarks import timing
from tools.benchmarks.esvit_steps import (
    LOCAL,
    VITS,
    backward_of,
    build,
    compare_batches,
    draw_crops,
    loss_of,
    report_batches,
)
from tools.benchmarks.peak_memory import peak_bytes
from tools.benchmarks.reference.esvit import (
    GLOBAL,
    STUDENT_TEMP,
    TEACHER_TEMP,
    direct_match,
    direct_region_loss,
    direct_step,
)
from tools.output import write_json

# Share of a global crop's tokens that a local one has: 9 of 49, as 96 of 224 pixels.
SHARE = 9 / 49


# --------------------------------------------------------------------- the cases


class Case:
    """Features and logits of a batch, drawn anew for each size.

    Args:
        tokens: Number of tokens of a global crop.
        batch: Number of images.
        options: With ``channels``, ``prototypes``, ``device`` and ``amp``.
    """

    def __init__(self, tokens: int, batch: int, options: argparse.Namespace):
        local = max(1, round(SHARE * tokens))
        self.views = Views(batch, (GLOBAL, LOCAL), (tokens, local), GLOBAL)
        keys = GLOBAL * batch * tokens
        rows = keys + LOCAL * batch * local
        draw = torch.Generator().manual_seed(0)
        dtype = torch.bfloat16 if options.amp else torch.float32

        def normal(count, width):
            drawn = torch.randn(count, width, generator=draw)
            return drawn.to(options.device, dtype)

        self.features = normal(rows, options.channels)
        self.keys = normal(keys, options.channels)
        self.logits = normal(rows, options.prototypes).requires_grad_()
        self.answers = normal(keys, options.prototypes)
        self.center = torch.zeros(1, options.prototypes, device=options.device)

    def crops(self, rows: Tensor) -> list[Tensor]:
        """Split rows (N, C) of the student by crop, (B, T, C) each."""
        return [crop for run in self.views.split(rows) for crop in run]

    def keys_of(self, rows: Tensor) -> list[Tensor]:
        """Split rows (N, C) of the teacher by crop, (B, T, C) each."""
        return list(rows.unflatten(0, (GLOBAL, self.views.batch, -1)))

    def targets(self) -> Tensor:
        """Return the probabilities of the teacher (N, K)."""
        return teacher_probabilities(self.answers, self.center, TEACHER_TEMP)

    def our_match(self) -> Tensor:
        """Match regions by this package."""
        return match_regions(self.features, self.keys, self.views)

    @torch.no_grad()
    def direct_match(self) -> list[Tensor]:
        """Match regions directly, by pairs of crops."""
        features, keys = self.crops(self.features), self.keys_of(self.keys)
        return [direct_match(crop, key) for key in keys for crop in features]

    def our_loss(self) -> Tensor:
        """Return the region loss by this package."""
        return region_loss(
            self.logits,
            self.targets(),
            self.features,
            self.keys,
            self.views,
            STUDENT_TEMP,
        )

    def direct_loss(self) -> Tensor:
        """Return the region loss, computed directly."""
        return direct_region_loss(
            self.crops(self.logits),
            self.keys_of(self.targets()),
            self.crops(self.features),
            self.keys_of(self.keys),
        )

    def backward_of(self, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Return a call that computes a loss and its gradient."""

        def step():
            found = loss()
            found.backward()
            self.logits.grad = None
            return found.detach()

        return step

    def parts(self) -> dict[str, tuple[Callable, Callable]]:
        """Return the calls to compare: ours first, then the direct implementation."""
        return {
            'matching': (self.our_match, self.direct_match),
            'region loss': (
                self.backward_of(self.our_loss),
                self.backward_of(self.direct_loss),
            ),
        }


def compare(
    ours: Callable, direct: Callable, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure seconds by round, peak bytes, and ratios of two implementations."""
    steps = dict(ours=ours, direct=direct)
    work, wall = timing.take_turns(steps, options.repeats, options.device)
    peaks = {name: peak_bytes(step, options.device) for name, step in steps.items()}
    return dict(
        seconds=work,
        wall=wall,
        peak_bytes=peaks,
        time_ratio=timing.ratios(work['direct'], work['ours']),
        peak_ratio=peaks['direct'] / peaks['ours'],
    )


def compare_regions(options: argparse.Namespace) -> list[dict]:
    """Measure matching and region loss at every size; a row for each."""
    found = []
    for batch in options.batch:
        for tokens in options.tokens:
            case = Case(tokens, batch, options)
            for part, both in case.parts().items():
                row = dict(part=part, batch=batch, tokens=tokens)
                if part == 'region loss':
                    losses = [loss().item() for loss in both]
                    row['difference'] = abs(losses[0] - losses[1]) / abs(losses[1])
                found.append(row | compare(*both, options))
    for row in found:
        row['growth'] = growth(row, found)
    return found


def growth(row: dict, rows: list[dict]) -> dict[str, float] | None:
    """Return exponents of peak memory since the next smaller size, if there is one."""
    same = [r for r in rows if all(r[k] == row[k] for k in ('part', 'batch'))]
    fewer = [r for r in same if r['tokens'] < row['tokens']]
    if not fewer:
        return None
    last = max(fewer, key=lambda r: r['tokens'])
    times = math.log(row['tokens'] / last['tokens'])
    return {
        name: math.log(row['peak_bytes'][name] / last['peak_bytes'][name]) / times
        for name in row['peak_bytes']
    }


def compare_steps(options: argparse.Namespace) -> dict[str, Any]:
    """Measure forward and backward of a whole batch."""
    model = build(options)
    crops = draw_crops(options.step_batch, options)
    both = [
        backward_of(model, loss, options)
        for loss in (partial(loss_of, model, crops), partial(direct_step, model, crops))
    ]
    losses = [step().item() for step in both]
    difference = abs(losses[0] - losses[1]) / abs(losses[1])
    row = dict(part='step', batch=options.step_batch, difference=difference)
    return row | compare(*both, options)


# --------------------------------------------------------------------- the report


def line(row: dict, size: str) -> list[str]:
    """Return a row of a table."""
    cells = [row['part'], str(row['batch']), size]
    for name in ('ours', 'direct'):
        cells.append(timing.cell(timing.quartiles(row['seconds'][name]), 1e3, 1))
    cells.append(timing.cell(row['time_ratio'], digits=2))
    grows = row.get('growth') or {}
    for name in ('ours', 'direct'):
        mib = f'{row["peak_bytes"][name] / 2**20:,.1f}'
        cells.append(f'{mib} (^{grows[name]:.2f})' if grows else mib)
    return [*cells, f'{row["peak_ratio"]:.2f}']


def report(regions: list[dict], step: dict | None, options: argparse.Namespace) -> None:
    """Print both tables."""
    first, *times = ('batch', 'ours, ms', 'direct, ms', 'ratio')
    peaks = ('ours, MiB', 'direct, MiB', 'ratio')
    order = sorted(regions, key=lambda row: row['part'])
    timing.print_table(
        f'{options.prototypes} prototypes, {options.channels} channels; in brackets '
        'behind MiB the growth with tokens',
        ('', first, 'tokens', *times, *peaks),
        [line(row, str(row['tokens'])) for row in order],
    )
    if step:
        crops = f'{GLOBAL} x {options.size}, {LOCAL} x {options.local_size} px'
        timing.print_table(
            f'Forward and backward of EsViT with Swin ({options.arch})',
            ('', first, 'crops', *times, *peaks),
            [line(step, crops)],
        )


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    numbers = dict(type=int, nargs='+', metavar='N')
    add(
        '--tokens',
        **numbers,
        default=[49, 196, 784],
        help='tokens of a global crop (default: 49 196 784)',
    )
    add('--batch', **numbers, default=[2, 8], help='batch sizes (default: 2 8)')
    add('--channels', type=int, default=192, help='feature channels (default: 192)')
    add(
        '--prototypes',
        type=int,
        default=1024,
        help='number of prototypes (default: 1024; the recipes have 65536)',
    )
    swins = ['mini', 'tiny', 'small', 'base']
    add(
        '--arch',
        default='mini',
        choices=[*swins, *VITS],
        help='size of Swin, or a ViT (default: mini)',
    )
    add(
        '--largest-batch',
        type=int,
        default=0,
        metavar='N',
        help='measure V+R relative to V for batches of 1, 2, 4, ... up to N; on a CPU, '
        'choose N to fit into memory (default: 0, not measured)',
    )
    add(
        '--step-batch',
        type=int,
        default=2,
        help='batch size of a whole training step; 0: not measured (default: 2)',
    )
    add(
        '--size',
        type=int,
        default=224,
        help='side of global crops in pixels (default: 224)',
    )
    add(
        '--local-size',
        type=int,
        default=96,
        help='side of local crops in pixels (default: 96)',
    )
    add('--repeats', type=int, default=3, help='rounds (default: 3)')
    add('--threads', type=int, default=1, help='CPU threads (default: 1)')
    add('--device', default='cpu', choices=['cpu', 'cuda'])
    add('--amp', action='store_true', help='use autocast to bfloat16')
    add(
        '--json', metavar='FILE', help='write all samples to FILE, in seconds and bytes'
    )
    options = parser.parse_args(arguments)
    for name in ('tokens', 'batch', 'channels', 'prototypes', 'repeats', 'threads'):
        given = getattr(options, name)
        if min(given if isinstance(given, list) else [given]) < 1:
            parser.error(f'--{name} takes 1 or more')
    for name in ('step_batch', 'largest_batch'):
        if getattr(options, name) < 0:
            parser.error(f'--{name.replace("_", "-")} takes 0 or more')
    if options.local_size >= options.size:
        parser.error('--local-size must be less than --size')
    return options


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    options = parse_args(arguments)
    timing.set_up(options)
    regions = compare_regions(options)
    step = compare_steps(options) if options.step_batch else None
    report(regions, step, options)
    batches = compare_batches(options)
    if batches:
        report_batches(batches, options)
    if options.json:
        found = dict(regions=regions, step=step, batches=batches)
        write_json(options.json, dict(vars(options), **found))


if __name__ == '__main__':
    main()
