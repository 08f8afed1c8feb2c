"""Evaluation mode for a while, with every module back in its own mode afterwards."""

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def eval_mode(*networks: nn.Module) -> Iterator[None]:
    """Put networks into evaluation mode; after the block every module is as before.

    ``network.train(mode)`` would not do: it also switches on what was frozen.

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
