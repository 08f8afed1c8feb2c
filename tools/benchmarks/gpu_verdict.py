"""Say of each criterion whether the files of `measure_on_gpu.sh` pass it.

python tools/benchmarks/gpu_verdict.py RESULTS
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.benchmarks import timing
from tools.benchmarks.step.models import GROUPS

# Limits of a step's time and memory, as a ratio to plain CutMix.
TIME = dict(tlalign=1.02, transmix=1.01)
MEMORY = 1.01
# Networks whose ratios are reported but are no criterion.
REPORTED = ('deit-tiny',)
# Stages whose files have times of steps.
STEPS = [f'steps-{model}' for model in GROUPS['papers']]
STEPS += ['tuned', 'ahead', 'before', 'lengths', 'host', 'types', 'compiled']
# Calculated microseconds of the kernel, see docs/performance_gpu.md. More than FACTOR
# times as many are not the model's error but a slow tile, which explains a miss.
MODEL = {
    'DeiT-T 224': 12,
    'DeiT-S 224': 21,
    'DeiT-B 224': 39,
    'DeiT-S 384': 135,
    'ViT-S 1,025': 76,
    'ViT-S 4,097': 283,
    'PVT-S, stage 1': 21,
}
FACTOR = 1.4


def verdicts(results: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield criterion, what was measured, the bound, and the verdict."""
    yield from unfinished(results)
    for stage, bound in dict(
        correctness='all right', adopted='all right', waits='none'
    ).items():
        file = results / f'{stage}.txt'
        text = file.read_text(encoding='utf-8').strip() if file.exists() else ''
        if text or not file.with_suffix('.part').exists():
            last = text.splitlines()[-1] if text else ''
            passed = ' passed' in last and not re.search('failed|error', last)
            yield f'tests: {stage}', last, bound, judge(passed if text else None)
    for row in read(results / 'shapes.json') or []:
        factor = row['triton'] / MODEL[row['layer']]
        yield (
            f'kernel: {row["layer"]}, time to the calculated one',
            f'{row["triton"]:.0f} µs, {factor:.2f}',
            f'{FACTOR}',
            'reported' if factor <= FACTOR else 'slow tile',
        )
    for name in STEPS:
        found = read(results / f'{name}.json')
        if found is None:
            yield name, '', '', judge(None)
            continue
        yield f'{name}: way of the share', found['shares'], '', 'reported'
        for row in found['rows']:
            yield from verdicts_of(name, row)


def unfinished(results: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield a miss for every stage that failed or was cut short."""
    for part in sorted(results.glob('*.part')):
        yield f'stage {part.stem}', f'stopped, see {part.name}', 'ends', judge(False)


def read(file: Path) -> Any:
    """Return the content of a JSON file, or None if there is no such file."""
    return json.loads(file.read_text(encoding='utf-8')) if file.exists() else None


def verdicts_of(name: str, row: dict) -> Iterator[tuple[str, str, str, str]]:
    """Yield the verdicts of a row of the benchmark."""
    case = f'{name}: {row["model"]}, {row["tokens"]} tokens, {row["precision"]}'
    counts = name.startswith(('steps', 'tuned')) and row['model'] not in REPORTED
    for variant, bound in TIME.items():
        if variant in row['ratios']:
            ratio = row['ratios'][variant]['median']
            verdict = judge(ratio <= bound) if counts else 'reported'
            yield f'{case}: time of {variant}', f'{ratio:.3f}', f'{bound}', verdict
            peak = row['peak_ratios'][variant]
            verdict = judge(peak <= MEMORY) if counts else 'reported'
            yield f'{case}: memory of {variant}', f'{peak:.3f}', f'{MEMORY}', verdict
    for variant, place in row.get('waits', {}).items():
        if variant in TIME:
            waits = place or 'nowhere'
            yield f'{case}: {variant} waits', waits, 'nowhere', judge(place is None)


def judge(passed: bool | None) -> str:
    """Return a verdict in a word."""
    return 'not measured' if passed is None else 'pass' if passed else 'MISS'


def main(arguments: list[str] | None = None) -> None:
    """Print the table of verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('results', type=Path)
    options = parser.parse_args(arguments)
    timing.print_table(
        'Measured on the machine that the files name',
        ('criterion', 'measured', 'bound', 'verdict'),
        verdicts(options.results),
    )


if __name__ == '__main__':
    main()
