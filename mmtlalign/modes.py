"""Temporary evaluation mode that restores the mode of every module."""

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def eval_mode(*networks: nn.Module) -> Iterator[None]:
    """Put networks into evaluation mode, and restore every module's mode afterwards.

    ``network.train(mode)`` would not do: it also sets frozen modules to training mode.

    Args:
        *networks: Networks, which may share modules.
    """
    training = [m for network in networks for m in network.modules() if m.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True
