"""The table of a plan's units: means, differences to the control, image by image.

Differences are taken seed by seed, since the units of a seed start from the same
weights and see the same pictures in the same order. Their interval is Student's, of
n - 1 degrees of freedom.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from mmtlalign.errors import InputError
from mmtlalign.evaluation.accuracy import compare_paired
from tools.experiments.plan import Plan
from tools.experiments.table import NOT_MEASURED, mean_and_spread
from tools.experiments.units import Unit, check_unit, read_unit, unpack_predictions
from tools.machine import SOURCES
from tools.output import format_table

CONFIDENCE = 0.95
# What stands behind a row with fewer seeds than the plan has.
UNFINISHED = '†'
# … and behind a difference without pairs of two versions of the code.
MIXED = '‡'


class Interval(NamedTuple):
    """Mean of paired differences, with a t interval (NaN for one pair)."""

    mean: float
    low: float
    high: float
    n: int


def read_units(units: Mapping[str, Unit]) -> list[dict[str, Any]]:
    """Read the units that are there.

    Args:
        units: Of a plan, by name.

    Returns:
        Their contents, in the order of the plan.

    Raises:
        InputError: None is there, or one is of other settings than the plan's.
    """
    found = []
    for unit in units.values():
        if unit.path.is_file():
            content = read_unit(unit.path)
            check_unit(content, unit)
            found.append(content)
    if not found:
        folder = next(iter(units.values())).path.parent
        raise InputError(
            f'{folder} contains no result of this plan yet. Run the plan without '
            '--table first.'
        )
    return found


def paired_interval(differences: Sequence[float]) -> Interval:
    """Return the mean of paired differences and its t interval of 95 %."""
    n = len(differences)
    middle = mean(differences)
    if n < 2:
        return Interval(middle, math.nan, math.nan, n)
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(differences) / n**0.5
    return Interval(middle, middle - half, middle + half, n)


def same_version(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Return whether two units were made by the same code and the same torch.

    A unit without suites, of random weights, is compared by its trainings alone.
    """
    kinds = a['sources'].keys() & b['sources'].keys()
    same = all(a['sources'][kind] == b['sources'][kind] for kind in kinds)
    return same and a['versions'].get('torch') == b['versions'].get('torch')


def pairs_with_control(
    units: Iterable[Mapping[str, Any]], start: str, control: str
) -> tuple[list[tuple[Mapping, Mapping]], int]:
    """Return (unit, control of its seed) of a start, and how many are left out.

    Left out are pairs of two versions of the code.
    """
    by_place = {(unit['start'], unit['seed']): unit for unit in units}
    pairs = [
        (unit, by_place[control, seed])
        for (own, seed), unit in by_place.items()
        if own == start and (control, seed) in by_place
    ]
    same = [pair for pair in pairs if same_version(*pair)]
    return same, len(pairs) - len(same)


def differences_of(pairs: Iterable[tuple[Mapping, Mapping]], column: str) -> list:
    """Return the differences of the pairs in which both measured a column."""
    found = []
    for unit, control in pairs:
        values = [one['metrics'].get(column) for one in (unit, control)]
        if None not in values:
            found.append(values[0] - values[1])
    return found


def table_text(plan: Plan, units: Sequence[Mapping[str, Any]]) -> str:
    """Return all tables of a plan's units in Markdown.

    Args:
        plan: Names the rows, their order, the seeds and the control.
        units: Contents of the files of units.
    """
    found = list(dict.fromkeys(c for unit in units for c in unit['metrics']))
    check_headlines(plan, units)
    first = [c for c in plan.headlines if c in found] or found
    parts = [format_table(mean_cells(plan, units, first), markdown=True)]
    parts += [caption(plan, units), *difference_parts(plan, units, first)]
    cells = image_cells(plan, units)
    if len(cells) > 1:
        parts += [
            'Image by image, each seed by itself: test images that one of the two '
            "alone names rightly, and McNemar's exact p."
        ]
        parts += [format_table(cells, markdown=True)]
    others = [c for c in found if c not in first]
    if others:
        parts += ['All else that was measured:']
        parts += [format_table(mean_cells(plan, units, others), markdown=True)]
        parts += difference_parts(plan, units, others)
    return '\n\n'.join(parts)


def difference_parts(
    plan: Plan, units: Sequence[Mapping], columns: Sequence[str]
) -> list[str]:
    """Return the table of differences to the control below its heading, if any."""
    cells = difference_cells(plan, units, columns)
    if len(cells) == 1:
        return []
    return [
        'Less the control of the same seed: mean, and in brackets the t interval of '
        f'{CONFIDENCE:.0%} over the seeds.',
        format_table(cells, markdown=True),
    ]


def check_headlines(plan: Plan, units: Sequence[Mapping]) -> None:
    """Check that a unit has each headline of the plan, once one measured everything.

    Raises:
        InputError: None has it.
    """
    found = list(dict.fromkeys(name for unit in units for name in unit['metrics']))
    if not any(u['config'] and u['metrics'] and not u['not_measured'] for u in units):
        return
    for name in plan.headlines:
        if name not in found:
            raise InputError(
                f'headlines name {name!r}, but the units have {", ".join(found)}. '
                'Correct the name.'
            )


def titles_of(plan: Plan, columns: Sequence[str]) -> list[str]:
    """Return the headings of columns: of headlines, the titles that the plan gives."""
    return [' '.join(plan.headlines.get(name, name).split()) for name in columns]


def mean_cells(plan: Plan, units: Sequence[Mapping], columns: Sequence[str]) -> list:
    """Return mean ± sample standard deviation of every start, as cells."""
    cells = [['', 'seeds', *titles_of(plan, columns)]]
    for key, start in plan.starts.items():
        own = [unit for unit in units if unit['start'] == key]
        if not own:
            continue
        mark = UNFINISHED if len(own) < len(plan.seeds) else ''
        row = [start.title + mark, str(len(own))]
        for column in columns:
            found = [u['metrics'][column] for u in own if column in u['metrics']]
            short = UNFINISHED if 0 < len(found) < len(own) else ''
            row.append(mean_and_spread(found) + short)
        if set(row[2:]) != {NOT_MEASURED}:
            cells.append(row)
    return cells


def difference_cells(
    plan: Plan, units: Sequence[Mapping], columns: Sequence[str]
) -> list:
    """Return the differences to the control with their intervals, as cells."""
    cells = [['', 'pairs', *titles_of(plan, columns)]]
    for key, start in plan.starts.items():
        pairs, left_out = pairs_with_control(units, key, plan.control)
        if key == plan.control or not pairs and not left_out:
            continue
        row = [start.title + (MIXED if left_out else ''), str(len(pairs))]
        for column in columns:
            row.append(interval_text(differences_of(pairs, column)))
        if left_out or set(row[2:]) != {NOT_MEASURED}:
            cells.append(row)
    return cells


def interval_text(differences: Sequence[float]) -> str:
    """Return ``'+1.2 (-0.3 to +2.7)'``, or the mean alone of one pair, or a dash."""
    if not differences:
        return NOT_MEASURED
    found = paired_interval(differences)
    text = f'{found.mean:+.2f}'
    return text if found.n < 2 else f'{text} ({found.low:+.2f} to {found.high:+.2f})'


def image_cells(plan: Plan, units: Sequence[Mapping]) -> list:
    """Return McNemar's test of every start against the control, by seed, as cells."""
    cells = [['', *(f'seed {seed}' for seed in plan.seeds)]]
    for key, start in plan.starts.items():
        pairs, _ = pairs_with_control(units, key, plan.control)
        by_seed = {unit['seed']: (unit, control) for unit, control in pairs}
        if key == plan.control or not by_seed:
            continue
        cells.append(
            [start.title, *(image_text(by_seed.get(seed)) for seed in plan.seeds)]
        )
    return cells


def image_text(pair: tuple[Mapping, Mapping] | None) -> str:
    """Return ``'+412 −389, p 0.44'``: right alone, wrong alone, and McNemar's p."""
    if pair is None or not all(one['correct'] for one in pair):
        return NOT_MEASURED
    found = compare_paired(*(unpack_predictions(one['correct']) for one in pair))
    return f'+{found.only_a} −{found.only_b}, p {found.p:.2g}'


def caption(plan: Plan, units: Sequence[Mapping]) -> str:
    """Return the caption: seeds, units, hours, versions and machines."""
    total = len(plan.starts) * len(plan.seeds)
    hours = sum(sum(unit['seconds'].values()) for unit in units) / 3600
    parts = [
        'Mean ± sample standard deviation over the seeds',
        f'{len(units)} of {total} units, {hours:.1f} hours',
    ]
    processors = Counter(unit['machine']['processor'] for unit in units)
    parts += [f'measured on {", ".join(processors)}']
    text = '; '.join(parts) + '.'
    if len(units) < total:
        text += f' {UNFINISHED} Unfinished: not all of the seeds {list(plan.seeds)}.'
    text += version_text(units)
    missing = sorted({name for unit in units for name in unit['not_measured']})
    if missing:
        text += f' Not measured in some units: {", ".join(missing)}.'
    return text


def version_text(units: Sequence[Mapping]) -> str:
    """Return the part of the caption that names the versions of code and torch."""
    found = {
        f'code of {kind}': Counter(
            unit['sources'][kind] for unit in units if kind in unit['sources']
        )
        for kind in SOURCES
    }
    found['torch'] = Counter(unit['versions'].get('torch', '') for unit in units)
    told = '; '.join(
        f'{name} '
        + ', '.join(v if len(count) == 1 else f'{v} ({n})' for v, n in count.items())
        for name, count in found.items()
        if count
    )
    if all(len(count) <= 1 for count in found.values()):
        return f' One version: {told}.'
    return (
        f' **Units of several versions**: {told}; the means above mix them, '
        f'differences are of pairs of one version alone ({MIXED} others are left out).'
    )
