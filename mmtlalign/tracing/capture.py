"""Read attention that is computed in the middle of another library's forward method.

The module's class is replaced by a subclass whose forward is recompiled from its source
with hooks around the calls of attention. Where that is not possible, the calls are
intercepted while the forward runs, which costs about a microsecond of CPU time for
every PyTorch call in it.
"""

import __future__

import ast
import functools
import inspect
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmtlalign.compat.torch_2_1 import outside_old_graphs
from mmtlalign.tracing.kernels.attention_hook import AttentionHook

_FUSED = 'scaled_dot_product_attention'
_SOFTMAX = (torch.softmax, Tensor.softmax, F.softmax)
_FUTURES = (getattr(__future__, name) for name in __future__.all_feature_names)
_FUTURE_FLAGS = functools.reduce(int.__or__, (f.compiler_flag for f in _FUTURES))


def capturing(cls: type) -> type:
    """Return a subclass of a module's class whose attention goes through a hook.

    Its instances must have an :class:`AttentionHook` as ``attention_hook``.
    """
    return _capturing(cls, cls.forward)  # type: ignore[attr-defined]


@functools.cache
def _capturing(cls: type, forward: Callable) -> type:
    hooked = forward_with_hook(cls, forward)
    bases = (cls,) if hooked else (_Intercepting, cls)
    members = dict(__reduce_ex__=_reduce, captured=cls)
    if hooked:
        members.update(forward=hooked)
    return type(f'Traced{cls.__name__}', bases, members)


def forward_with_hook(cls: type, forward: Callable) -> Callable | None:
    """Return a forward whose attention goes through ``self.attention_hook``.

    In its source ``F.scaled_dot_product_attention(...)`` becomes
    ``self.attention_hook(...)``, and every softmax ``x`` becomes
    ``self.attention_hook.weigh(x)``. All else, including line numbers, is unchanged.

    Args:
        cls: The class that has the forward.
        forward: Its function.

    Returns:
        The new function, or None where it cannot be built reliably: the source is
        missing or differs from the running code, the function is decorated or has a
        closure (``super()``), or it does not call attention.
    """
    try:
        code = forward.__code__
        tree = ast.parse(f'class {cls.__name__}:\n{inspect.getsource(forward)}')
        ast.increment_lineno(tree, code.co_firstlineno - 2)
        # Python compiles calls on an imported module to other bytecode.
        for name in code.co_names:
            if isinstance(forward.__globals__.get(name), ModuleType):
                line = ast.Import([ast.alias(name)], lineno=1, col_offset=0)
                tree.body.insert(0, ast.fix_missing_locations(line))
        if forward.__closure__ or _compile(tree, code) != code:
            return None
    except (OSError, TypeError, SyntaxError, AttributeError):
        return None
    calls = _HookCalls(forward)
    hooked_code = _compile(ast.fix_missing_locations(calls.visit(tree)), code)
    if not calls.found or hooked_code is None:
        return None
    names, defaults = forward.__globals__, forward.__defaults__
    hooked = FunctionType(hooked_code, names, forward.__name__, defaults)
    hooked.__kwdefaults__ = forward.__kwdefaults__
    return hooked


def _compile(tree: ast.Module, like: CodeType) -> CodeType | None:
    """Compile the class at the end of the tree, and return its function's code."""
    flags = like.co_flags & _FUTURE_FLAGS
    code = compile(tree, like.co_filename, 'exec', flags, dont_inherit=True)
    for name in (tree.body[-1].name, like.co_name):  # type: ignore[attr-defined]
        parts = (c for c in code.co_consts if isinstance(c, CodeType))
        code = next((c for c in parts if c.co_name == name), None)
    return code


class _HookCalls(ast.NodeTransformer):
    """Insert the hook into all calls of attention in a function.

    Attributes:
        found: Number of calls found.
    """

    def __init__(self, function: Callable):
        names = function.__code__.co_varnames
        self.hook = f'{names[0]}.attention_hook'
        self.globals = {
            name: value
            for name, value in function.__globals__.items()
            if name not in names
        }
        self.found = 0

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        name = getattr(node.func, 'attr', getattr(node.func, 'id', None))
        if name == 'softmax':
            self.found += 1
            hook = self._expression(f'{self.hook}.weigh', node)
            return ast.copy_location(ast.Call(hook, [node], []), node)
        if name == _FUSED and self._value(node.func) is F.scaled_dot_product_attention:
            self.found += 1
            node.func = self._expression(self.hook, node)
        return node

    def _value(self, node: ast.expr) -> object:
        """Return the object that a dotted name refers to, or None if not known."""
        if isinstance(node, ast.Attribute):
            return getattr(self._value(node.value), node.attr, None)
        return self.globals.get(node.id) if isinstance(node, ast.Name) else None

    @staticmethod
    def _expression(text: str, node: ast.expr) -> ast.expr:
        new = ast.parse(text, mode='eval').body
        for part in ast.walk(new):
            ast.copy_location(part, node)
        return new


class _AttentionCalls(TorchFunctionMode):
    """Mode in which fused attention and softmax go through an attention hook."""

    def __init__(self, hook: AttentionHook):
        super().__init__()
        self.hook = hook

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self.hook(*args, **kwargs)
        out = func(*args, **kwargs)
        return self.hook.weigh(out) if func in _SOFTMAX else out


class _Intercepting:
    """Mixin for modules whose calls of attention are intercepted."""

    attention_hook: AttentionHook

    @outside_old_graphs
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        hook = self.attention_hook
        if hook.context.reader is None and not hook.channels:
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        with _AttentionCalls(hook):
            return super().forward(*args, **kwargs)  # type: ignore[misc]


def _reduce(module: Any, protocol: int) -> tuple:
    """Pickle an instance of a generated class by the class that it replaces."""
    return _rebuild, (module.captured,), module.__dict__


def _rebuild(cls: type) -> Any:
    return object.__new__(capturing(cls))
