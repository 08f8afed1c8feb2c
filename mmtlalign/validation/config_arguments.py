"""Check arguments in a config against the signatures of the classes that take them.

Python does not check types: a string in place of a number fails only when it is used,
which for a sampler, a transform or a hook may be late. A misspelt argument of a class
that passes ``**kwargs`` on may never fail at all.
"""

import difflib
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from numbers import Number
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import Registry

from mmtlalign.errors import InputError

REGISTRIES = [one for one in vars(registry).values() if isinstance(one, Registry)]
# Kinds of values in a config, and their names in messages.
KINDS = {
    bool: 'True or False',
    float: 'a number',
    str: 'a string',
    dict: 'a dict',
    list: 'a list',
}
KIND_OF: dict[Any, type] = {int: float, Number: float, tuple: list, Sequence: list}
KIND_OF |= {kind: kind for kind in KINDS}
Kinds = frozenset[type | None]
# The kinds of values that an argument of a kind accepts.
STRICT: dict[Any, Kinds] = {kind: frozenset({kind}) for kind in KINDS}
STRICT |= dict.fromkeys((bool, float), frozenset({bool, float}))
STRICT[dict] = frozenset({dict, list})  # one dict, or a list of them
# The hosts annotate `int` or a list where they accept either.
LOOSE = STRICT | dict.fromkeys((bool, float, list), frozenset({bool, float, list}))
# Modules whose annotations are reliable.
EXACT = ('mmengine.', 'mmtlalign.', 'torch.optim.')
# mmengine annotates loss_scale as a string, but also accepts a number.
UNCHECKED = ('type', '_scope_', '_delete_', 'loss_scale')
# Transforms that pass unknown arguments to another transform.
RESIZES = ('RandomResize', 'RandomChoiceResize')


def check_arguments(cfg: Config) -> None:
    """Check the arguments of every dict with a ``type``.

    Args:
        cfg: A whole config, whose host is imported.

    Raises:
        InputError: An argument is of another type than its class declares, or looks
            like a misspelt argument of the class.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    for path, node in typed_dicts(cfg.to_dict()):
        faults = [
            find_fault(kind, node, path)
            for kind in find_classes(node['type'], scope)
            if inspect.isclass(kind)
        ]
        # Several registries may have a class of that name: one that fits is enough.
        if faults and all(faults):
            raise InputError(f'{faults[0]} (in {cfg.filename}). Correct it.')


def typed_dicts(node: Any, path: str = '') -> Iterator[tuple[str, dict]]:
    """Iterate over path and value of all dicts with a ``type``."""
    if isinstance(node, Mapping):
        if isinstance(node.get('type'), (str, type)):
            yield path, dict(node)
            if str(node['type']).endswith(RESIZES):
                yield path, dict(node, type=node.get('resize_type', 'Resize'))
        for key, child in node.items():
            yield from typed_dicts(child, f'{path}.{key}'.lstrip('.'))
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from typed_dicts(child, f'{path}.{index}')


@cache
def find_classes(kind: str | type, scope: str) -> list[Any]:
    """Return the entries of all registries for a name, in its scope or ``scope``."""
    if not isinstance(kind, str):
        return [kind]
    prefix, _, name = kind.rpartition('.')
    found = []
    for root in REGISTRIES:
        for owner in (root.children.get(prefix or scope), root):
            if owner is not None:
                owner.import_from_location()
                found += [owner.module_dict[name]] if name in owner.module_dict else []
    return found


def find_fault(cls: type, node: dict, path: str) -> str:
    """Return what is wrong with the first wrong argument; '' if none is."""
    declared, is_open = arguments(cls)
    for name, value in node.items():
        if name in UNCHECKED:
            continue
        if name in declared:
            accepted, own = declared[name], kind_of(value)
            if accepted and own and own not in accepted:
                wanted = ' or '.join(KINDS[kind] for kind in KINDS if kind in accepted)
                return f'{path}.{name}={value!r}: {cls.__name__} takes {wanted} there'
        elif is_open or cls.__module__.startswith('torch.optim.'):
            # `lr` is read before the optimizer is built, so a misspelt one would not
            # reach its constructor.
            cutoff = 0.85 if is_open else 0.6
            near = difflib.get_close_matches(name, declared, n=1, cutoff=cutoff)
            if near and near[0] not in node:
                return (
                    f'{path}.{name}: {cls.__name__} has no such argument. Did you mean '
                    f"'{near[0]}'?"
                )
    return ''


@cache
def arguments(cls: type) -> tuple[dict[str, Kinds], bool]:
    """Return the arguments of a class with the kinds they accept, and if it takes more.

    A class with ``**kwargs`` has the arguments of its base, too. An empty set of kinds
    means that any is accepted.
    """
    found: dict[str, Kinds] = {}
    for base in cls.__mro__:
        if '__init__' not in vars(base):
            continue
        try:
            signature = inspect.signature(vars(base)['__init__'])
        except (TypeError, ValueError):
            return found, True
        parameters = signature.parameters.values()
        for one in list(parameters)[1:]:
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
                rules = STRICT if base.__module__.startswith(EXACT) else LOOSE
                found.setdefault(one.name, accepted_kinds(one, rules))
        if all(one.kind is not one.VAR_KEYWORD for one in parameters):
            return found, False
    return found, True


def accepted_kinds(parameter: inspect.Parameter, rules: dict[Any, Kinds]) -> Kinds:
    """Return the kinds that a parameter accepts; empty if any, or if unknown."""
    default = kind_of(parameter.default)
    if parameter.annotation is parameter.empty:
        # Defaults of the other kinds say little: often several kinds are accepted.
        return LOOSE[default] if default in (bool, float, dict) else frozenset()
    declared = annotated_kinds(parameter.annotation, rules)
    return declared | {default} if declared and default else declared


def annotated_kinds(annotation: Any, rules: dict[Any, Kinds]) -> Kinds:
    """Return the kinds that an annotation allows; empty if any."""
    origin = typing.get_origin(annotation) or annotation
    if origin in (typing.Union, types.UnionType):
        parts = [annotated_kinds(one, rules) for one in typing.get_args(annotation)]
        return frozenset().union(*parts) if all(parts) else frozenset()
    if origin is type(None):
        return frozenset({None})
    if not inspect.isclass(origin):
        return frozenset()
    kind = dict if issubclass(origin, Mapping) else KIND_OF.get(origin)
    return rules.get(kind, frozenset())


def kind_of(value: Any) -> type | None:
    """Return the kind of a value of a config; None if it is not one of KINDS."""
    if isinstance(value, (bool, str, dict, list)):
        return type(value) if not isinstance(value, dict) else dict
    if isinstance(value, (int, float)):
        return float
    return list if isinstance(value, tuple) else None
