"""Readers of where the last attention looks (TransMix). As the tracer, they sit
on the wire during one forward and are told the same events."""

import torch
from torch import Tensor

from . import geometry, rules
from .reader import Reader


class LastLook(Reader):
    """Base: counts the attentions and reads the last one.

    Subclasses say what they read from queries and keys (:meth:`read`) or from
    weights that are at hand (:meth:`read_weights`).

    Args:
        mask: Share of the partner in each image token (1 or B, N).
        grid: Token grid ``(h, w)`` with N = h * w.
        prefix: Number of special tokens P.
        attentions: How many attentions the backbone has.

    Attributes:
        mask, grid, prefix: The same at the layer that runs.
        seen: Number of attentions met.
    """

    def __init__(
        self, mask: Tensor, grid: tuple[int, int], prefix: int, attentions: int
    ):
        self.mask = mask
        self.grid = grid
        self.prefix = prefix
        self.attentions = attentions
        self.seen = 0
        self._windows: tuple | None = None
        self._appended = 0

    def attend(self, query, key, scale, mask=None) -> None:
        """Arguments as of :meth:`Tracer.attend`."""
        if self._is_last():
            self.read(query, key, scale, mask)
        self._appended = 0

    def weigh(self, weights: Tensor) -> None:
        """Weights as in :meth:`Tracer.weigh`."""
        if self._is_last():
            mean = weights.detach().flatten(0, -4).mean(dim=1, dtype=torch.float32)
            self.read_weights(mean)
        self._appended = 0

    def enter_windows(self, grid, window, shift=(0, 0), pad_first=True) -> None:
        """As :meth:`Tracer.enter_windows`."""
        self._windows = (tuple(grid), tuple(window), tuple(shift), pad_first)

    def leave_windows(self) -> None:
        """As :meth:`Tracer.leave_windows`."""
        self._windows = None

    def reduce_keys(self, pooling) -> None:
        """As :meth:`Tracer.reduce_keys`; of use for the last attention only."""
        if self.seen == self.attentions - 1:
            self.mask = geometry.pool(self.mask[..., None], self.grid, 0, pooling)
            self.mask = self.mask[..., 0]

    def append_tokens(self, count: int) -> None:
        """As :meth:`Tracer.append_tokens`."""
        self._appended = count

    def merge(self, kernel, stride, padding=(0, 0, 0, 0)) -> None:
        """As :meth:`Tracer.merge`; the first token stands for its group."""
        self.mask, self.grid = geometry.merge_nearest(
            self.mask, self.grid, kernel, stride, padding
        )

    def join_prefix(self, count: int = 1) -> None:
        """As :meth:`Tracer.join_prefix`."""
        self.prefix += count

    def read(self, query, key, scale, mask) -> None:
        """Read the last attention from queries and keys (B, H, N, D)."""
        raise NotImplementedError

    def read_weights(self, weights: Tensor) -> None:
        """Read the last attention from weights (B, Nq, Nk), mean of the heads."""
        raise NotImplementedError

    def _spread(self, looks: Tensor) -> Tensor:
        """What falls on a mean of all tokens (..., N + count) falls on all alike."""
        if not self._appended:
            return looks
        looks, extra = looks.tensor_split([-self._appended], dim=-1)
        return looks + extra.sum(dim=-1, keepdim=True) / looks.shape[-1]

    def _is_last(self) -> bool:
        self.seen += 1
        return self.seen == self.attentions


class ClassRows(LastLook):
    """Where the special tokens look (TransMix, CVPR 2022, §3).

    Attributes:
        rows: (B, P, P + N), softmax before dropout, averaged over heads.
    """

    rows: Tensor | None = None

    def read(self, query, key, scale, mask) -> None:
        self._keep(rules.prefix_rows(query, key, self.prefix, scale, mask))

    def read_weights(self, weights: Tensor) -> None:
        self._keep(weights[:, : self.prefix])

    def output_shares(self) -> tuple[Tensor, ...]:
        """Share of each special token's look that falls on the partner, (B,).

        The columns of the special tokens do not count.
        """
        rows = self.rows[:, :, self.prefix :]
        looked = (rows * self.mask[:, None]).sum(dim=-1) / rows.sum(dim=-1)
        return looked.unbind(dim=1)

    def _keep(self, rows: Tensor) -> None:
        self.rows = self._spread(rows)


class TokenColumns(LastLook):
    """How much each image token is looked at, for networks without class token.

    This is an extension of ours, not in the paper: the mean of the columns of
    the last attention takes the place of the class token's row.

    Attributes:
        columns: (B, N), averaged over heads and image tokens.
    """

    columns: Tensor | None = None

    def read(self, query, key, scale, mask) -> None:
        weight = self._query_weight(query.shape[-2], query)
        if self._is_padded():
            seen = weight.expand(len(query), -1)[..., None]
            weight = weight / rules.attend(query, key, seen, scale, mask)[..., 0]
        self._keep(rules.column_means(query, key, weight, scale, mask))

    def read_weights(self, weights: Tensor) -> None:
        weight = self._query_weight(weights.shape[1], weights)
        if self._is_padded():
            weight = weight / (weights @ weight[..., None])[..., 0]
        self._keep((weights * weight[..., None]).sum(dim=1))

    def output_shares(self) -> tuple[Tensor]:
        """Share of all looks that falls on the partner, (B,)."""
        looked = (self.columns * self.mask).sum(dim=-1) / self.columns.sum(dim=-1)
        return (looked,)

    def _is_padded(self) -> bool:
        """Whether queries look at padding, too, which is no part of the image."""
        if self._windows is None:
            return False
        return any(side % width for side, width in zip(*self._windows[:2]))

    def _query_weight(self, queries: int, like: Tensor) -> Tensor:
        """1 for queries that are image tokens, (1 or B, Nq)."""
        if self._windows is not None:
            ones = torch.ones(1, self.grid[0] * self.grid[1], 1, device=like.device)
            windows = geometry.to_windows(ones, *self._windows)[..., 0]
            return windows.repeat(like.shape[0] // windows.shape[0], 1)
        weight = torch.ones(1, queries, device=like.device)
        weight[:, : self.prefix] = 0
        weight[:, queries - self._appended :] = 0
        return weight

    def _keep(self, columns: Tensor) -> None:
        if self._windows is not None:
            columns = geometry.from_windows(columns[..., None], *self._windows, 1)
            self.columns = columns[..., 0]
        else:
            self.columns = self._spread(columns)[:, self.prefix :]
