"""Old names that still work, with a warning that gives the new one.

Renamed arguments are declared where the class is (:func:`renamed_arguments`), renamed
types where the new one is registered (:func:`register_old_name`). :data:`RENAMED` lists
them all, for docs/renamed.md and the tests.
"""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

Function = TypeVar('Function', bound=Callable)


class Renamed(NamedTuple):
    """One old name.

    Attributes:
        owner: Class or function of an argument; ``'type'`` for a registered type.
        old: The old name.
        new: The new name.
        values: Old values of the argument to new ones.
    """

    owner: str
    old: str
    new: str
    values: Mapping[Any, Any]


RENAMED: list[Renamed] = []


def renamed_arguments(
    values: Mapping[str, Mapping[Any, Any]] | None = None, **names: str
) -> Callable[[Function], Function]:
    """Let a function also take keyword arguments by their old names.

    Args:
        values: New argument name to {old value: new value}. Defaults to None.
        **names: Old argument name to new one; the same name if only values have
            changed.

    Returns:
        A decorator.
    """
    values = dict(values or {})

    def decorate(function: Function) -> Function:
        owner = function.__qualname__.removesuffix('.__init__')
        for old, new in names.items():
            RENAMED.append(Renamed(owner, old, new, dict(values.get(new, {}))))

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old, new in names.items():
                if old in kwargs and old != new:
                    if new in kwargs:
                        raise TypeError(
                            f'{owner}: {old} is the old name of {new}; give {new} only.'
                        )
                    _warn(f'{owner}: the argument {old} is called {new} now.')
                    kwargs[new] = kwargs.pop(old)
                given, known = kwargs.get(new), values.get(new, {})
                if isinstance(given, str) and given in known:
                    _warn(f'{owner}: {new}={given!r} is called {known[given]!r} now.')
                    kwargs[new] = known[given]
            return function(*args, **kwargs)

        return cast(Function, call)

    return decorate


def register_old_name(registry: Any, old: str, new: type | Callable) -> None:
    """Let a registry build a type by its old name.

    Args:
        registry: A registry of mmengine.
        old: Old name, without scope.
        new: The class or function that has the new name.
    """
    RENAMED.append(Renamed('type', f'mmtlalign.{old}', f'mmtlalign.{new.__name__}', {}))

    @functools.wraps(new, updated=())
    def build(*args: Any, **kwargs: Any) -> Any:
        _warn(f'mmtlalign.{old} is called mmtlalign.{new.__name__} now.')
        return new(*args, **kwargs)

    registry.register_module(name=old, module=build)


def _warn(message: str) -> None:
    # FutureWarning is shown by default; DeprecationWarning only in __main__.
    warnings.warn(message, FutureWarning, stacklevel=3)
