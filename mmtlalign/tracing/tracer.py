"""What all readers of a forward pass have in common.

The reader that follows shares through one forward pass (TL-Align).

A tap hands every attention it meets to the reader on its context, and tells it
what else happens to the tokens: they are cut into windows, merged, joined by a
class token. Shapes as in :mod:`mmtlalign.tracing.propagate`.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmtlalign.compat.torch_2_1 import outside_old_graphs
from mmtlalign.errors import InputError
from mmtlalign.tracing import propagate


class Reader:
    """Base of the readers that sit on a context during one forward pass."""

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

        Arguments as of :func:`mmtlalign.tracing.propagate.merge`.
        """
        if self._embedded:
            self.merge(kernel, stride, padding)
        self._embedded = True


class Tracer(Reader):
    """Follows shares through one forward pass (TL-Align, ICCV 2023, §3.3).

    Args:
        share: Start (B, P + N, S), special tokens first. S = 1 for the share
            of a partner image; S = K starts from label vectors, S = N from the
            identity (attention rollout): any S follows the same rules.
        grid: Token grid ``(h, w)`` with N = h * w.
        prefix: Number of special tokens P.
        attentions: How many attentions the backbone has.
        layers: Which of them move the share, by index; negative ones count
            from the end. Defaults to None: all.
        residual: How much the share before an attention counts beside the moved
            one, as a residual connection does: ``p <- (r p + A p) / (r + 1)``.
            True is the paper's 1, the plain mean; False is 0. Other numbers are
            an extension of ours. Defaults to True.
        merge: How the class token takes in DHVT's head tokens, ``'nested'`` or
            ``'flat'``; see :meth:`append_tokens`. Defaults to ``'nested'``.

    Attributes:
        share: Where the shares are now (B, P + N', S), float32.
        history: Share after every attention so far.
        grids: Token grid of every entry of ``history``.
        prefixes: Number of special tokens of every entry of ``history``.
        seen: Number of attentions met.
    """

    def __init__(
        self,
        share: Tensor,
        grid: tuple[int, int],
        prefix: int,
        attentions: int,
        layers: Sequence[int] | None = None,
        residual: bool | float = True,
        merge: str = 'nested',
    ):
        self.share = share.detach().float()
        self.grid = grid
        self.prefix = prefix
        self.layers = layer_indices(layers, attentions)
        self.residual = residual_weight(residual)
        self.merge_rule = merge
        self.history: list[Tensor] = []
        self.grids: list[tuple[int, int]] = []
        self.prefixes: list[int] = []
        self.seen = 0
        self._keys: Tensor | None = None
        self._windows: tuple | None = None
        self._appended = 0

    def attend(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
    ) -> None:
        """One attention, by its queries and keys: the share moves.

        Args:
            query: (B, H, Nq, D). Fewer queries than tokens are the leading
                ones, as in class attention; the other tokens stay.
            key: (B, H, Nk, D), of the tokens, or of what :meth:`enter_windows`,
                :meth:`reduce_keys` or :meth:`append_tokens` made of them.
            scale: Factor of the logits.
            mask: Added to the logits, or boolean. Defaults to None.
        """
        self.arrive(propagate.attend(query, key, self._key_share(), scale, mask))

    def passenger(self) -> Tensor:
        """The share of the keys (B, Nk, S) before the next attention."""
        return self._key_share()

    def weigh(self, weights: Tensor) -> None:
        """One attention whose weights (..., H, Nq, Nk) are at hand.

        They are the softmax before dropout; queries and keys as in
        :meth:`attend`. Leading dimensions are batch, or batch and windows.
        """
        self.arrive(propagate.weigh(weights.flatten(0, -4), self._key_share()))

    def enter_windows(self, grid, window, shift=(0, 0), pad_first=True) -> None:
        """The next attention is inside windows.

        Args:
            grid: Token rows and columns, without padding.
            window: Rows and columns of a window.
            shift: By how much this forward really shifts, rows and columns.
            pad_first: Whether the map is padded before it is shifted.
        """
        self._windows = (tuple(grid), tuple(window), tuple(shift), pad_first)
        self._keys = propagate.to_windows(self.share, *self._windows)

    def leave_windows(self) -> None:
        """The windows are put together again, which ends the attention."""
        columns = self.share.shape[-1]
        moved = propagate.from_windows(self._keys, *self._windows, columns)
        self._windows = self._keys = None
        self._step(moved)

    def reduce_keys(self, pooling: Callable[[Tensor], Tensor]) -> None:
        """Keys of the next attention are pooled tokens (PVT, ICCV 2021, §3.3).

        Args:
            pooling: What averages maps (B, S, h, w) as the keys are reduced,
                such as ``functools.partial(F.avg_pool2d, kernel_size=8)``.
        """
        self._keys = propagate.pool(self.share, self.grid, self.prefix, pooling)

    def append_tokens(self, count: int) -> None:
        """Tokens made from the mean of all take part in the next attention.

        These are DHVT's head tokens (NeurIPS 2022, §3.3): each starts with the
        mean share of all tokens; after the attention their mean is added to
        the class token and they are gone. With ``merge='nested'`` the class
        token averages its own attention with theirs, then the result with its
        share before; ``'flat'`` averages all three alike. The share before counts
        ``residual`` times in both.
        """
        self._keys = propagate.append_mean(self.share, count)
        self._appended = count

    def merge(self, kernel, stride, padding=(0, 0, 0, 0)) -> None:
        """Tokens are merged; arguments as in :func:`propagate.merge`."""
        self.share, self.grid = propagate.merge(
            self.share, self.grid, kernel, stride, padding
        )

    def join_prefix(self, count: int = 1) -> None:
        """Special tokens join late: each starts at the mean of the others."""
        mean = self.share[:, self.prefix :].mean(dim=1)
        self.share = propagate.add_prefix(self.share, mean, count)
        self.prefix += count

    def output_shares(self, output: str) -> tuple[Tensor, ...]:
        """What arrives at the network's output, each (B, S).

        Args:
            output: ``'class'`` for one share for each special token, ``'mean'``
                for the mean over all image tokens.
        """
        if output == 'mean':
            return (self.share[:, self.prefix :].mean(dim=1),)
        return tuple(self.share[:, i] for i in range(self.prefix))

    def _key_share(self) -> Tensor:
        return self.share if self._keys is None else self._keys

    def arrive(self, moved: Tensor) -> None:
        """One attention has moved the share of the keys, (B, Nq, S)."""
        if self._windows is not None:
            self._keys = moved
            return
        self._keys = None
        self._step(moved)

    def _step(self, moved: Tensor) -> None:
        flat = 0
        if self._appended:
            moved, heads = moved.tensor_split([-self._appended], dim=1)
            first = (moved[:, :1] + heads.mean(dim=1, keepdim=True)) / 2
            moved = torch.cat([first, moved[:, 1:]], dim=1)
            flat, self._appended = int(self.merge_rule == 'flat'), 0
        if self.layers is None or self.seen in self.layers:
            self.share = self._update(moved, flat)
        self.history.append(self.share)
        self.grids.append(self.grid)
        self.prefixes.append(self.prefix)
        self.seen += 1

    def _update(self, moved: Tensor, flat: int) -> Tensor:
        rows = moved.shape[1]
        before, rest = self.share[:, :rows], self.share[:, rows:]
        after = moved.add(before, alpha=self.residual) / (self.residual + 1)
        if flat:
            # Attention of the class token and that of the head tokens count alike.
            first = (2 * moved[:, :1]).add(before[:, :1], alpha=self.residual)
            first = first / (self.residual + 2)
            after = torch.cat([first, after[:, 1:]], dim=1)
        return torch.cat([after, rest], dim=1) if rest.shape[1] else after


def residual_weight(residual: bool | float) -> float:
    """The number that ``residual`` of :class:`Tracer` says; a wrong one is an error."""
    if not isinstance(residual, (bool, int, float)) or not 0 <= residual < math.inf:
        raise InputError(
            f'residual={residual!r}: True (the plain mean), False (none), or how much '
            'labels before an attention count beside the moved ones, a number from '
            '0 on.'
        )
    return float(residual)


def layer_indices(layers: Sequence[int] | None, attentions: int) -> frozenset | None:
    """Indices 0...attentions - 1 that ``layers`` names; a wrong one is an error."""
    if layers is None:
        return None
    wrong = [i for i in layers if not -attentions <= i < attentions]
    if wrong or not layers:
        raise InputError(
            f'layers={list(layers)}: this backbone has attentions 0 to '
            f'{attentions - 1} (negative numbers count from the end); name at '
            'least one, or None for all.'
        )
    return frozenset(i % attentions for i in layers)
