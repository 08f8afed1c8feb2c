"""Find the compiled operators that a model can call, in the source of its classes."""

import ast
import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

from tools.analysis_tools.references import PACKAGES, truth, uses_of

Known = dict[str, Any]


@lru_cache(None)
def resolve(name: Any, scope: str) -> Any:
    """Return the class or function that a config's `type` names, or None."""
    if not isinstance(name, str):
        return name
    registries = import_module(f'{scope}.registry')
    for registry in ('MODELS', 'TASK_UTILS', 'WEIGHT_INITIALIZERS'):
        found = getattr(registries, registry).get(name)
        if found is not None:
            return found
    return getattr(import_module('mmcv.ops'), name, None)


@lru_cache(None)
def defaults_of(cls: type) -> tuple[tuple[str, Any], ...]:
    """Return the default arguments of a class's own ``__init__``, by name."""
    if cls is object or '__init__' not in vars(cls):
        return ()
    parameters = inspect.signature(cls.__init__).parameters.values()
    return tuple((p.name, p.default) for p in parameters if p.default is not p.empty)


@lru_cache(None)
def find_method(cls: type, name: str, after: type | None) -> tuple:
    """Return a method as a class inherits it (or None), and the base it comes from.

    Args:
        cls: The class.
        name: The method.
        after: The base after which to look, or None for all.
    """
    order = cls.__mro__
    for base in order[order.index(after) + 1 if after in order else 0 :]:
        if name in vars(base):
            method = vars(base)[name]
            method = getattr(method, 'fget', None) or method  # of a property
            method = inspect.unwrap(getattr(method, '__func__', method))
            return (method if inspect.isfunction(method) else None), base
    return None, None


class Reach:
    """Search for the operators that one model can call in a mode and on a device.

    Every class that the config names counts as built, and so does every class that a
    reached function names. A method of a built class is reached when any reached
    function names an attribute of that name. A branch whose condition cannot hold,
    given the config, the mode or the device, is left out. Nothing is built or run, so
    the result may contain more than what a model calls, but hardly less.

    Args:
        model: The model of a config.
        mode: 'loss' or 'predict'.
        device: 'cpu' or 'cuda'.
        scope: The library whose registries are asked.

    Attributes:
        operators: The functions of ``mmcv._ext``.
    """

    def __init__(self, model: Mapping, mode: str, device: str, scope: str):
        self.mode, self.scope = mode, scope
        self.given = {'mode': mode, 'self.training': mode == 'loss', 'device': device}
        self.operators: set[str] = set()
        self.built: dict[tuple, tuple[type, Known]] = {}
        # PyTorch calls these by itself.
        self.named = {'__init__', 'forward', '__call__'}
        if mode == 'loss':
            self.named.add('backward')
        self.nms: dict[str, set[str]] = {'train_cfg': set(), 'test_cfg': set()}
        self.done: set[tuple] = set()
        self.queue: list[tuple] = []
        if scope == 'mmdet':  # annotations, which no config names
            self.build(import_module('mmdet.structures.mask').BitmapMasks, {})
        self.collect(model)
        while self.queue:
            self.follow(*self.queue.pop())

    def collect(self, node: Any, within: str = '') -> None:
        """Count all classes that a part of a config names as built.

        Args:
            node: The part.
            within: 'train_cfg' or 'test_cfg' if it is inside one of these.
        """
        if isinstance(node, list | tuple):
            for item in node:
                self.collect(item, within)
        if not isinstance(node, Mapping):
            return
        if 'type' in node:
            self.build_type(node['type'], node, within)
        for key, value in node.items():
            below = key if key in self.nms else within
            if key == 'nms' and isinstance(value, Mapping) and 'type' not in value:
                self.build_type('nms', value, below)
            if key != 'init_cfg':
                self.collect(value, below)

    def build_type(self, name: Any, arguments: Mapping | None, within: str) -> None:
        """Count the class of a `type` as built, if registered and of this mode."""
        if isinstance(name, str) and 'nms' in name:
            for place in [within] if within else self.nms:
                self.nms[place].add(name)
            return
        if within == ('test_cfg' if self.mode == 'loss' else 'train_cfg'):
            return
        found = resolve(name, self.scope)
        if isinstance(found, type):
            self.build(found, arguments)
        elif found is not None:
            self.use(found)

    def build(self, cls: type, arguments: Mapping | None) -> None:
        """Count a class as built, and queue those methods of it that are named.

        Args:
            cls: The class.
            arguments: Those of a config, or None where they are not known.
        """
        if not cls.__module__.startswith(PACKAGES):
            return
        if '.losses.' in cls.__module__ and self.mode == 'predict':
            return
        key = (cls, repr(arguments))
        if key in self.built:
            return
        known = {}
        if arguments is not None:
            defaults = [
                pair for base in cls.__mro__[::-1] for pair in defaults_of(base)
            ]
            known = {f'self.{k}': v for k, v in [*defaults, *arguments.items()]}
        self.built[key] = cls, known
        for name in self.named:
            self.enqueue_method(cls, known, name)

    def use(self, thing: Any) -> None:
        """Follow a function, or build a class."""
        if isinstance(thing, type):
            self.build(thing, None)
        elif inspect.isfunction(inspect.unwrap(thing)):
            self.enqueue(inspect.unwrap(thing), None, {})

    def enqueue_method(
        self, cls: type, known: Known, name: str, after: type | None = None
    ) -> None:
        """Queue a method as the class inherits it, or its base's after another."""
        function, base = find_method(cls, name, after)
        if function is not None:
            self.enqueue(function, (cls, base), known)

    def enqueue(self, function: Callable, owner: Any, known: Known) -> None:
        """Queue a function of our packages, once."""
        key = (function, owner, id(known) if known else None)
        if key not in self.done and function.__module__.startswith(PACKAGES):
            self.done.add(key)
            self.queue.append((function, owner, known))

    def follow(self, function: Callable, owner: Any, known: Known) -> None:
        """Follow all that a function names, unless its condition cannot hold."""
        known = {**known, **self.given}
        if function.__name__ == '__init__':
            known |= {k[5:]: v for k, v in known.items() if k.startswith('self.')}
            for name, default in defaults_of(owner[1]):
                if known.get(name, default) is default:
                    self.collect({name: default})
        if function.__name__ == 'batched_nms':
            self.use_nms()

        @lru_cache(None)
        def fails(test: ast.expr, holds: bool) -> bool:
            return truth(test, known) is (not holds)

        for kind, what, guards in uses_of(function):
            if any(fails(*guard) for guard in guards):
                continue
            if kind == 'operator':
                self.operators.add(what)
            elif kind == 'object':
                self.use(what)
            elif kind == 'type':
                self.build_type(what, None, '')
            elif kind == 'super' and owner:
                name, after = what
                self.enqueue_method(owner[0], known, name, after or owner[1])
            elif kind == 'attribute' and what not in self.named:
                self.named.add(what)
                for cls, arguments in list(self.built.values()):
                    self.enqueue_method(cls, arguments, what)

    def use_nms(self) -> None:
        """Follow the config's kinds of NMS, which mmcv finds by their name."""
        place = 'train_cfg' if self.mode == 'loss' else 'test_cfg'
        for kind in self.nms[place] or self.nms['test_cfg']:
            self.use(getattr(import_module('mmcv.ops.nms'), kind, None))


def simplify(node: Any) -> Any:
    """Return a model's config without values that no condition depends on.

    Those of a ResNet-50 and a ResNet-101 become the same: numbers are 0 or 1.
    """
    if isinstance(node, Mapping):
        skipped = ('init_cfg', 'pretrained')
        return {key: simplify(node[key]) for key in node if key not in skipped}
    if isinstance(node, list | tuple):
        return list({repr(item): item for item in map(simplify, node)}.values())
    if isinstance(node, int | float) and not isinstance(node, bool):
        return int(node != 0)
    return node


def calls_of(model: Mapping, scope: str) -> dict[str, set[tuple[str, str]]]:
    """Return the operators that a model calls: the modes and devices of each."""
    calls = defaultdict(set)
    for mode in ('loss', 'predict'):
        for device in ('cpu', 'cuda'):
            for operator in Reach(model, mode, device, scope).operators:
                calls[operator].add((mode, device))
    return dict(calls)
