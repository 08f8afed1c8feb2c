"""Say of each criterion whether the files of `measure_on_gpu.sh` pass it.

python tools/benchmarks/gpu_verdict.py RESULTS
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.benchmarks import timing

# Limits of a step's time and memory, as a ratio to plain CutMix.
TIME = dict(tlalign=1.02, transmix=1.01)
MEMORY = 1.01
# Networks whose ratios are reported but are no criterion.
REPORTED = ('deit-tiny',)


def verdicts(results: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield criterion, what was measured, the bound, and the verdict."""
    for stage in ('correctness', 'adopted'):
        file = results / f'{stage}.txt'
        found = file.read_text(encoding='utf-8').strip() if file.exists() else ''
        last = found.splitlines()[-1] if found else ''
        yield (
            f'kernels against float64, {stage}',
            last,
            'all pass',
            judge(' passed' in last and 'failed' not in last if last else None),
        )
    for name in ('steps', 'compiled', 'types', 'host', 'lengths', 'before'):
        file = results / f'{name}.json'
        if not file.exists():
            yield name, '', '', judge(None)
            continue
        found = json.loads(file.read_text(encoding='utf-8'))
        yield f'{name}: way of the share', found['shares'], '', 'reported'
        for row in found['rows']:
            yield from verdicts_of(name, row)


def verdicts_of(name: str, row: dict) -> Iterator[tuple[str, str, str, str]]:
    """Yield the verdicts of a row of the benchmark."""
    case = f'{name}: {row["model"]}, {row["tokens"]} tokens, {row["precision"]}'
    counts = name == 'steps' and row['model'] not in REPORTED
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
