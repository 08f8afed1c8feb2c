"""Replacements for what older PyTorch lacks, for the classic stack (PyTorch 2.1)."""

import contextlib
import re
from collections.abc import Callable

import torch

# PyTorch 2.1 may have the function only in `torch._dynamo`.
is_compiling: Callable[[], bool] = (
    getattr(torch.compiler, 'is_compiling', None) or torch._dynamo.is_compiling
)

# Whether torch.compile may take a tracer into its graph. Before PyTorch 2.5 it treats
# tensors that it finds below a module as constants, so that every step would get the
# shares of the first, and fails under a function mode.
ONE_GRAPH = tuple(map(int, re.findall(r'\d+', torch.__version__)[:2])) >= (2, 5)


def is_exporting() -> bool:
    """Return whether a graph is made that is no graph of ``torch.compile``.

    ``torch.compiler.is_exporting`` is always True in what ``torch.compile`` compiles
    (PyTorch 2.11). Before PyTorch 2.5 all compilation counts as export.
    """
    return is_compiling() and not (ONE_GRAPH and torch.compiler.is_dynamo_compiling())


def outside_old_graphs(function: Callable) -> Callable:
    """Return the function, kept out of the graphs of a PyTorch before 2.5."""
    return function if ONE_GRAPH else torch.compiler.disable(function)


def methods_outside_old_graphs(cls: type) -> None:
    """Keep the public methods of a class out of the graphs of a PyTorch before 2.5."""
    for name, value in list(vars(cls).items()):
        if callable(value) and not name.startswith('_'):
            setattr(cls, name, outside_old_graphs(value))


def math_attention() -> contextlib.AbstractContextManager:
    """Return a context in which attention is computed without a fused kernel."""
    try:  # from PyTorch 2.3 on
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:
        return torch.backends.cuda.sdp_kernel(
            enable_flash=False, enable_mem_efficient=False
        )
    return sdpa_kernel(SDPBackend.MATH)
