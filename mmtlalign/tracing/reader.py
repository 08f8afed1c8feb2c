"""What all readers of a forward pass have in common."""

import re

import torch
from torch import Tensor

# Whether torch.compile may take a reader into its graph. Before torch 2.5 it keeps
# tensors that it finds below a module as constants, so that every step would get the
# shares of the first, and fails where calls of functions are listened to.
ONE_GRAPH = tuple(map(int, re.findall(r'\d+', torch.__version__)[:2])) >= (2, 5)


def outside_old_graphs(function):
    """The function, which a torch.compile that would get it wrong leaves alone."""
    return function if ONE_GRAPH else torch.compiler.disable(function)


class Reader:
    """Base of the readers that sit on a wire during one forward pass."""

    _embedded = False

    def passenger(self) -> Tensor | None:
        """Columns (B, N, S) that may ride in the next attention, to be handed to
        ``arrive`` moved; None of readers that look at queries and keys."""
        return None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name, value in list(vars(cls).items()):
            if callable(value) and not name.startswith('_'):
                setattr(cls, name, outside_old_graphs(value))

    def embed(self, kernel, stride, padding=(0, 0, 0, 0)) -> None:
        """A patch embedding: the first makes the tokens, any later one merges them.

        Arguments as of :func:`mmtlalign.tracing.geometry.merge`.
        """
        if self._embedded:
            self.merge(kernel, stride, padding)
        self._embedded = True
