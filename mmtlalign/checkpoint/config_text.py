"""Read the config in a checkpoint as data, without running it.

mmengine writes the text of the config into every checkpoint. It is Python, and
``Config.fromstring`` would run it, with whatever code the author of the file put
there. The text that mmengine writes holds plain values only, which are parsed here.
"""

import ast
import math
from typing import Any, NoReturn

from mmtlalign.errors import InputError

NUMBERS = dict(inf=math.inf, nan=math.nan)


def read_config_text(text: str, source: str) -> dict[str, Any]:
    """Return the values of a config as mmengine writes it (``Config.pretty_text``).

    Args:
        text: Lines ``name = value``; values consist of literals, lists, tuples and
            ``dict(key=value)``.
        source: Where the text is from, for the message.

    Raises:
        InputError: A line has another form.
    """
    try:
        lines = ast.parse(text).body
    except SyntaxError as error:
        raise InputError(
            f'{source}: line {error.lineno} of the config is not Python '
            f'({error.msg}). Name the config: --config FILE.'
        ) from error
    values = {}
    for line in lines:
        if not isinstance(line, ast.Assign):
            _refuse(line, source)
        name = line.targets[0]
        if not isinstance(name, ast.Name):
            _refuse(line, source)
        values[name.id] = _value(line.value, source)
    return values


def _value(node: ast.expr, source: str) -> Any:
    """Return the value of an expression of literals; raise InputError for others."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        items = [_value(item, source) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Dict):
        given = [key for key in node.keys if key is not None]
        if len(given) == len(node.keys):  # else there is a **mapping
            keys = [_value(key, source) for key in given]
            return dict(zip(keys, (_value(item, source) for item in node.values)))
    if isinstance(node, ast.Call) and _makes_dict(node):
        values: dict[Any, Any] = {}
        for mapping in node.args:
            values |= _value(mapping, source)
        return values | {word.arg: _value(word.value, source) for word in node.keywords}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand, source)
        if isinstance(number, int | float):
            return -number
    if isinstance(node, ast.Name) and node.id in NUMBERS:
        return NUMBERS[node.id]
    _refuse(node, source)


def _makes_dict(node: ast.Call) -> bool:
    """Return whether a call is dict(a=1), or dict({'a.b': 1}), as mmengine writes."""
    is_dict = isinstance(node.func, ast.Name) and node.func.id == 'dict'
    of_dicts = all(isinstance(argument, ast.Dict) for argument in node.args)
    return is_dict and of_dicts and all(word.arg for word in node.keywords)


def _refuse(node: ast.stmt | ast.expr, source: str) -> NoReturn:
    raise InputError(
        f'{source}: line {node.lineno} of its config is not a plain value '
        f'({ast.unparse(node)[:60]}), and the config in a checkpoint is read as data, '
        'never executed. If you have the config file, name it: --config FILE.'
    )
