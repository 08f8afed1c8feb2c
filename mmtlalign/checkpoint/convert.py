"""Rename the weights of official code bases to this package's names, and back."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from mmtlalign.checkpoint.key_maps import KEY_MAPS
from mmtlalign.checkpoint.key_maps.base import KeyMap, ValueMap
from mmtlalign.errors import InputError, some_of

Value = TypeVar('Value')


def convert(
    state_dict: Mapping[str, Value], family: str, reverse: bool = False
) -> dict[str, Value]:
    """Rename every weight, and convert the values for which the table has a ValueMap.

    Args:
        state_dict: Values by official name, or by ours if ``reverse``.
        family: A key of :data:`KEY_MAPS`.
        reverse: Whether to convert from our names to the official ones. Defaults to
            False.

    Returns:
        The values in the same order under the other names, without those of
        :func:`left_out`.

    Raises:
        InputError: The family is not known, a name is not in its table, or a tensor is
            missing that is to be joined with others to one.
    """
    rules = _rules(find_key_map(family), reverse, state_dict)
    skipped = set(left_out(state_dict, family, reverse))
    renamed, unmatched = {}, []
    for name in state_dict:
        if name in skipped:
            continue
        found = _match(name, rules)
        if found is None:
            unmatched.append(name)
            continue
        rule, fields = found
        sources = [source.format(**fields) for source in rule.sources]
        # Tensors that are joined are handled together, at the first of them.
        if name != next((n for n in sources if n in state_dict), None):
            continue
        lacking = [source for source in sources if source not in state_dict]
        if lacking:
            raise InputError(
                f'{", ".join(lacking)} is not in the file, but {name} is, and the '
                'target format stores them as one tensor. Take a file of the whole '
                'network.'
            )
        values = tuple(state_dict[source] for source in sources)
        if rule.values:
            function = rule.values.to_official if reverse else rule.values.to_ours
            values = function(*values)
        for target, value in zip(rule.targets, values):
            renamed[target.format(**fields)] = value
    if unmatched:
        raise InputError(
            f'{len(unmatched)} names are not in the table of {family!r} '
            f'({some_of(unmatched)}); it knows names like '
            f'{some_of([rule.sources[0] for rule in rules], 3)}. Choose the '
            'family and the direction (--reverse) of the file.'
        )
    return renamed


def left_out(names: Iterable[str], family: str, reverse: bool = False) -> list[str]:
    """Return the names that are not part of our network; none if ``reverse``."""
    templates = () if reverse else find_key_map(family).left_out
    patterns = [pattern_of(template) for template in templates]
    return [name for name in names if any(p.fullmatch(name) for p in patterns)]


def unwrap(
    state_dict: Mapping[str, Value], family: str
) -> tuple[dict[str, Value], dict[str, int]]:
    """Remove the prefixes that wrappers such as DDP add to every name.

    Args:
        state_dict: Values by official name.
        family: A key of :data:`KEY_MAPS`; its table lists the prefixes.

    Returns:
        The values under the shorter names, and the number of names with each prefix.

    Raises:
        InputError: Two names become one.
    """
    wrappers = find_key_map(family).wrappers
    counts: Counter[str] = Counter()
    short: dict[str, Value] = {}
    for name, value in state_dict.items():
        bare = name
        while begin := next((w for w in wrappers if bare.startswith(w)), None):
            bare = bare[len(begin) :]
            counts[begin] += 1
        if bare in short:
            raise InputError(
                f'{name} and another name of the file are both {bare!r} after removing '
                f'{" and ".join(wrappers)}: the file holds two networks. Choose one '
                'with --key, or save it to a file of its own.'
            )
        short[bare] = value
    return short, dict(counts)


def find_key_map(family: str) -> KeyMap:
    """Return the table of a family.

    Raises:
        InputError: There is none; the message lists the families.
    """
    if family not in KEY_MAPS:
        raise InputError(
            f'There is no table of names for {family!r}; known are '
            f'{", ".join(sorted(KEY_MAPS))}. Add one to '
            'mmtlalign/checkpoint/key_maps.'
        )
    return KEY_MAPS[family]


class _Rule(NamedTuple):
    """A pair of a table, for one direction of the conversion."""

    patterns: list[re.Pattern]  # of the sources
    sources: list[str]
    targets: list[str]
    values: ValueMap | None


def _rules(table: KeyMap, reverse: bool, names: Iterable[str]) -> list[_Rule]:
    stage = pattern_of(table.stages[reverse])
    stages = [int(m['last']) for name in names if (m := stage.fullmatch(name))]
    last = str(max(stages, default=0))
    rules = []
    for pair in table.pairs:
        sides = [
            [
                n.replace('{last}', last)
                for n in ([side] if isinstance(side, str) else side)
            ]
            for side in pair[:2]
        ]
        sources, targets = reversed(sides) if reverse else sides
        patterns = [pattern_of(source) for source in sources]
        values = pair[2] if len(pair) == 3 else None
        rules.append(_Rule(patterns, sources, targets, values))
    return rules


def _match(name: str, rules: list[_Rule]) -> tuple[_Rule, dict[str, str]] | None:
    """Return the rule for a name, and the values of its fields; None without a rule."""
    for rule in rules:
        for pattern in rule.patterns:
            if match := pattern.fullmatch(name):
                return rule, match.groupdict()
    return None


def pattern_of(template: str) -> re.Pattern:
    """Return a regular expression for a template such as 'blocks.{i}.norm{n}'."""
    return re.compile(re.sub(r'\\{(\w+)\\}', r'(?P<\1>[^.]+)', re.escape(template)))
