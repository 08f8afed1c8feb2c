"""Call functions inside an optimizer's step, before parameters move."""

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any

from torch.optim import Optimizer


def before_step(
    optimizer: Optimizer, function: Callable[[Optimizer], object]
) -> Callable[[], None]:
    """Call a function inside every step of an optimizer, before parameters move.

    It replaces ``Optimizer.register_step_pre_hook``, whose hooks PyTorch 2.1 silently
    removes from all optimizers as soon as anything is compiled.

    Args:
        optimizer: Its ``step`` is replaced, once for all functions.
        function: Called with the optimizer. Gradients are unscaled by then, except for
            a fused step in mixed precision.

    Returns:
        A function without arguments that removes ``function`` again.
    """
    if not hasattr(optimizer, 'before_step'):
        stock_step = optimizer.step
        functions: list[Callable[[Optimizer], object]] = []

        @functools.wraps(stock_step)
        def step(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
            for each in functions:
                each(self)
            return stock_step(*args, **kwargs)

        optimizer.before_step = functions
        optimizer.step = MethodType(step, optimizer)
    optimizer.before_step.append(function)
    return functools.partial(optimizer.before_step.remove, function)
