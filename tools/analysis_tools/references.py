"""What the source of a function uses, and under which conditions."""

import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

# Packages whose code is followed.
PACKAGES = ('mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'mmtlalign')

unparse = lru_cache(None)(ast.unparse)


class Reference(NamedTuple):
    """Something that a function names.

    Attributes:
        kind: 'name' (``a.b.c``), 'attribute' (``f().c``), 'super' (``super(a).c``) or
            'type' (``dict(type='c')``).
        text: The name.
        guards: The conditions around it, and whether each has to hold.
    """

    kind: str
    text: str
    guards: tuple[tuple[ast.expr, bool], ...]


@lru_cache(None)
def references_of(function: Callable) -> tuple[Reference, ...]:
    """Return what a function names; nothing if it has no source."""
    visitor = _Visitor()
    try:
        visitor.visit(ast.parse(textwrap.dedent(inspect.getsource(function))))
    except (OSError, SyntaxError, TypeError):  # made at run time, or a lambda
        return ()
    return tuple(visitor.found)


@lru_cache(None)
def uses_of(function: Callable) -> list[tuple[str, Any, tuple]]:
    """Return kind, thing and conditions of all that a function uses.

    The kinds are 'operator' (a function of ``mmcv._ext``), 'object' (a class or
    function), 'attribute', 'type' (a registered name) and 'super' (name, after).
    """
    uses = []
    for kind, text, guards in references_of(function):
        first, *rest = text.split('.')
        if kind == 'super':
            uses.append((kind, (rest[0], function.__globals__.get(first)), guards))
            continue
        if kind != 'name':
            uses.append((kind, text, guards))
            continue
        local = first in function.__code__.co_varnames
        thing = None if local else function.__globals__.get(first)
        while rest and isinstance(thing, types.ModuleType | type):
            if getattr(thing, '__name__', '') == 'mmcv._ext':
                uses.append(('operator', rest[0], guards))
                thing, rest = None, []
            else:
                thing = getattr(thing, rest.pop(0), None)
        thing = getattr(thing, '__self__', None) or thing  # of Function.apply
        module = getattr(thing, '__module__', None) or ''
        if callable(thing) and module.startswith(PACKAGES):
            uses.append(('object', thing, guards))
        uses += [('attribute', name, guards) for name in rest]
    return list(dict.fromkeys(uses))


class _Visitor(ast.NodeVisitor):
    """Collects the references of one function."""

    def __init__(self) -> None:
        self.found: list[Reference] = []
        self.guards: tuple[tuple[ast.expr, bool], ...] = ()
        self.conditions: dict[str, ast.expr] = {}

    def add(self, kind: str, text: str) -> None:
        self.found.append(Reference(kind, text, self.guards))

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        self.visit(node.test)
        above, test = self.guards, _Spelled(self.conditions).visit(node.test)
        for branch, holds in ((node.body, True), (node.orelse, False)):
            self.guards = (*above, (test, holds))
            for child in branch if isinstance(branch, list) else [branch]:
                self.visit(child)
        self.guards = above

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit_If(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.value, ast.BoolOp | ast.Compare):
            self.conditions[unparse(node.targets[0])] = node.value
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for child in node.body:  # annotations and decorators call nothing
            self.visit(child)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name in ('isinstance', 'issubclass'):
            self.visit(node.args[0])
            return
        for keyword in node.keywords if name == 'dict' else ():
            if keyword.arg == 'type' and isinstance(keyword.value, ast.Constant):
                self.add('type', str(keyword.value.value))
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for part in (node.left, *node.comparators):
            if not isinstance(part, ast.Name):  # a class compared is not called
                self.visit(part)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.add('name', node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = node.value
        if isinstance(owner, ast.Call) and unparse(owner.func) == 'super':
            after = unparse(owner.args[0]) if owner.args else ''
            self.add('super', f'{after}.{node.attr}')
            return
        while isinstance(owner, ast.Attribute):
            owner = owner.value
        if isinstance(owner, ast.Name):
            self.add('name', unparse(node))
        else:
            self.add('attribute', node.attr)
            self.visit(node.value)


class _Spelled(ast.NodeTransformer):
    """Replaces names by the conditions that were assigned to them."""

    def __init__(self, conditions: Mapping[str, ast.expr]) -> None:
        self.conditions = conditions

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.conditions.get(node.id, node)


def truth(test: ast.expr, known: Mapping[str, Any]) -> bool | None:
    """Return whether a condition holds, or None where that cannot be known.

    Args:
        test: The condition.
        known: Values of names such as ``mode`` or ``self.with_deform``, and the
            'device', 'cpu' or 'cuda', by which ``x.is_cuda`` is judged.
    """
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        holds = truth(test.operand, known)
        return None if holds is None else not holds
    if isinstance(test, ast.BoolOp):
        parts = [truth(part, known) for part in test.values]
        decides = isinstance(test.op, ast.Or)
        if decides in parts:
            return decides
        return None if None in parts else not decides
    text = unparse(test)
    if text in known:
        return bool(known[text])
    if text.endswith('.is_cuda') or text in (
        'torch.cuda.is_available()',
        'IS_CUDA_AVAILABLE',
    ):
        return known['device'] == 'cuda'
    if text.endswith(('.is_mlu', '.is_npu', '.is_musa')) or text.startswith('IS_'):
        return False  # other accelerators
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        return _compare(unparse(test.left), test.ops[0], test.comparators[0], known)
    return None


def _compare(
    left: str, operator: ast.cmpop, right: ast.expr, known: Mapping[str, Any]
) -> bool | None:
    """Evaluate a comparison with a constant, or ``index < 0``, for `truth`."""
    if left.endswith('.device.type'):
        left = 'device'
    if left in known and isinstance(right, ast.Constant):
        if isinstance(operator, ast.Is | ast.Eq):
            return known[left] == right.value
        if isinstance(operator, ast.IsNot | ast.NotEq):
            return known[left] != right.value
    if left == 'i' and isinstance(operator, ast.Lt) and known.get(unparse(right)) == 0:
        return False
    return None
