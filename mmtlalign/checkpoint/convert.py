"""Rename the weights of official code bases to this package's names, and back."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from mmtlalign.checkpoint.io import some_of
from mmtlalign.checkpoint.key_maps import FAMILIES
from mmtlalign.checkpoint.key_maps.base import Family
from mmtlalign.errors import InputError

Value = TypeVar('Value')


def convert(
    state_dict: Mapping[str, Value], family: str, reverse: bool = False
) -> dict[str, Value]:
    """Rename every weight; a value changes only where the table says how.

    Args:
        state_dict: Values by official name, or by ours if ``reverse``.
        family: A key of :data:`FAMILIES`.
        reverse: From our names to the official ones. Defaults to False.

    Returns:
        The values in the same order under the other names, without those of
        :func:`left_out`.

    Raises:
        InputError: The family is not known, a name is not in its table, or one of
            several tensors that are one on the other side is not there.
    """
    table = find(family)
    rules = _rules(table, reverse, state_dict)
    skipped = set(left_out(state_dict, family, reverse))
    renamed, unmatched = {}, []
    for name in state_dict:
        if name in skipped:
            continue
        found = _match(name, rules)
        if found is None:
            unmatched.append(name)
            continue
        (sources, targets, change), fields = found
        sources = [source.format(**fields) for source in sources]
        # The first of several in the table brings the others with it.
        if name != next((n for n in sources if n in state_dict), None):
            continue
        lacking = [source for source in sources if source not in state_dict]
        if lacking:
            raise InputError(
                f'{", ".join(lacking)} is not in the file, but {name} is, and they '
                'are one tensor on the other side. Take a file of the whole network.'
            )
        values = tuple(state_dict[source] for source in sources)
        if change:
            values = change(*values)
        for target, value in zip(targets, values):
            renamed[target.format(**fields)] = value
    if unmatched:
        raise InputError(
            f'{len(unmatched)} names are not in the table of {family!r} '
            f'({some_of(unmatched)}); it knows names like '
            f'{some_of([sources[0] for _, (sources, *_) in rules], 3)}. Choose the '
            'family and the direction (--reverse) of the file.'
        )
    return renamed


def left_out(names: Mapping | list, family: str, reverse: bool = False) -> list[str]:
    """The official names that ours has no use for; none in the other direction."""
    patterns = [] if reverse else [_pattern(p) for p in find(family).left_out]
    return [n for n in names if any(p.fullmatch(n) for p in patterns)]


def unwrap(
    state_dict: Mapping[str, Value], family: str
) -> tuple[dict[str, Value], dict[str, int]]:
    """Take the beginnings off that wrappers such as DDP put before every name.

    Args:
        state_dict: Values by official name.
        family: A key of :data:`FAMILIES`; its table says which are taken off.

    Returns:
        The values under the shorter names, and how often each beginning was there.

    Raises:
        InputError: Two names become one.
    """
    wrappers = find(family).wrappers
    counts, short = Counter(), {}
    for name, value in state_dict.items():
        bare = name
        while begin := next((w for w in wrappers if bare.startswith(w)), None):
            bare = bare[len(begin) :]
            counts[begin] += 1
        if bare in short:
            raise InputError(
                f'{name} and another name of the file are both {bare!r} without '
                f'{" and ".join(wrappers)}: the file holds two networks. Choose one '
                'with --key, or save it alone.'
            )
        short[bare] = value
    return short, dict(counts)


def find(family: str) -> Family:
    """The table of a family, or an error that names those there are."""
    if family not in FAMILIES:
        raise InputError(
            f'There is no table of names for {family!r}; known are '
            f'{", ".join(sorted(FAMILIES))}. Add one to '
            'mmtlalign/engine/weight_tables.'
        )
    return FAMILIES[family]


def _rules(table: Family, reverse: bool, names: Iterable[str]) -> list:
    """Patterns of the names read, and (names read, names written, change)."""
    stage = _pattern(table.stages[reverse])
    stages = [int(m['last']) for name in names if (m := stage.fullmatch(name))]
    last = str(max(stages, default=0))
    rules = []
    for theirs, ours, *change in table.pairs:
        sides = [(n,) if isinstance(n, str) else n for n in (theirs, ours)]
        sides = [[name.replace('{last}', last) for name in side] for side in sides]
        sources, targets = reversed(sides) if reverse else sides
        function = change and (change[0].back if reverse else change[0].forth)
        rules.append(([_pattern(s) for s in sources], (sources, targets, function)))
    return rules


def _match(name: str, rules: list) -> tuple | None:
    """The rule for a name and what stands for its fields."""
    for patterns, rule in rules:
        for pattern in patterns:
            if match := pattern.fullmatch(name):
                return rule, match.groupdict()
    return None


def _pattern(template: str) -> re.Pattern:
    """'blocks.{i}.norm{n}' -> blocks\\.(?P<i>[^.]+)\\.norm(?P<n>[^.]+)"""
    return re.compile(re.sub(r'\\{(\w+)\\}', r'(?P<\1>[^.]+)', re.escape(template)))
