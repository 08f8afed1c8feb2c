"""Readers of one forward pass: they sit on the wire while a backbone runs.

A tap hands every attention it meets to the reader on its wire. Two readers
exist: :class:`Tracer` moves shares through all layers (TL-Align),
:class:`ClassRows` looks at the special tokens' rows of the last attention
(TransMix). Shapes as in :mod:`mmtlalign.tracing.rules`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from . import rules


class Tracer:
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
        residual: Average the moved share with the one before, as a residual
            connection does. Defaults to True.

    Attributes:
        share: Where the shares are now (B, P + N', S), float32.
        history: Share after every attention so far.
        grids: Token grid of every entry of ``history``.
        seen: Number of attentions met.
    """

    def __init__(
        self,
        share: Tensor,
        grid: tuple[int, int],
        prefix: int,
        attentions: int,
        layers: Sequence[int] | None = None,
        residual: bool = True,
    ):
        self.share = share.detach().float()
        self.grid = grid
        self.prefix = prefix
        self.layers = layer_indices(layers, attentions)
        self.residual = residual
        self.history: list[Tensor] = []
        self.grids: list[tuple[int, int]] = []
        self.seen = 0
        self._windows: Tensor | None = None
        self._geometry = (0, 0)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        dropout_p: float = 0.0,
    ) -> Tensor:
        """One attention over all tokens: its output, with the share moved."""
        if rides(value, dropout_p):
            out, moved = rules.ride(query, key, value, self.share, scale)
        else:
            out = F.scaled_dot_product_attention(
                query, key, value, dropout_p=dropout_p, scale=scale
            )
            moved = rules.attend(query, key, self.share, scale)
        self._step(moved)
        return out

    def weigh(self, weights: Tensor) -> None:
        """One attention whose weights (B, H, N, N) are at hand.

        Inside :meth:`enter_windows` they are those of the windows.
        """
        if self._windows is None:
            self._step(rules.weigh(weights, self.share))
        else:
            self._windows = rules.weigh(weights, self._windows)

    def enter_windows(self, grid: tuple[int, int], window: int, shift: int) -> None:
        """The tokens are cut into windows; ``shift`` is this forward's own."""
        self._geometry = (window, shift)
        self._windows = rules.to_windows(self.share, grid, window, shift)

    def leave_windows(self) -> None:
        """The windows are put together again, which ends the attention."""
        moved = rules.from_windows(
            self._windows, self.grid, *self._geometry, self.share.shape[-1]
        )
        self._windows = None
        self._step(moved)

    def merge(self, kernel, stride, padding=(0, 0, 0, 0)) -> None:
        """Tokens are merged; arguments as in :func:`rules.merge`."""
        self.share, self.grid = rules.merge(
            self.share, self.grid, kernel, stride, padding
        )

    def output_shares(self, output: str) -> tuple[Tensor, ...]:
        """What arrives at the network's output, each (B, S).

        Args:
            output: ``'class'`` for one share for each special token, ``'mean'``
                for the mean over all image tokens.
        """
        if output == 'mean':
            return (self.share[:, self.prefix :].mean(dim=1),)
        return tuple(self.share[:, i] for i in range(self.prefix))

    def _step(self, moved: Tensor) -> None:
        if self.layers is None or self.seen in self.layers:
            self.share = (self.share + moved) / 2 if self.residual else moved
        self.history.append(self.share)
        self.grids.append(self.grid)
        self.seen += 1


class ClassRows:
    """Reads the special tokens' rows of the last attention (TransMix, §3).

    Args:
        mask: Which tokens came from the partner (1 or B, N).
        prefix: Number of special tokens P.
        attentions: How many attentions the backbone has.

    Attributes:
        rows: (B, P, P + N), softmax before dropout, averaged over heads.
        seen: Number of attentions met.
    """

    def __init__(self, mask: Tensor, prefix: int, attentions: int):
        self.mask = mask
        self.prefix = prefix
        self.attentions = attentions
        self.rows: Tensor | None = None
        self.seen = 0

    def attend(self, query, key, value, scale, dropout_p=0.0) -> Tensor:
        """The attention's output; arguments as in :meth:`Tracer.attend`."""
        self.seen += 1
        if self.seen == self.attentions:
            self.rows = rules.prefix_rows(query, key, self.prefix, scale)
        return F.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout_p, scale=scale
        )

    def weigh(self, weights: Tensor) -> None:
        """One attention whose weights (B, H, N, N) are at hand."""
        self.seen += 1
        if self.seen == self.attentions:
            rows = weights[:, :, : self.prefix].detach()
            self.rows = rows.mean(dim=1, dtype=torch.float32)

    def output_shares(self) -> tuple[Tensor, ...]:
        """Share of each special token's look that falls on the partner, (B,).

        The columns of the special tokens do not count.
        """
        rows = self.rows[:, :, self.prefix :]
        looked = (rows * self.mask[:, None]).sum(dim=-1) / rows.sum(dim=-1)
        return looked.unbind(dim=1)


def rides(value: Tensor, dropout_p: float) -> bool:
    """Whether a share may ride inside the attention's own fused call."""
    return value.dtype is torch.float32 and not dropout_p


def layer_indices(layers: Sequence[int] | None, attentions: int) -> frozenset | None:
    """Indices 0...attentions - 1 that ``layers`` names; a wrong one is an error."""
    if layers is None:
        return None
    wrong = [i for i in layers if not -attentions <= i < attentions]
    if wrong or not layers:
        raise ValueError(
            f'layers={list(layers)}: this backbone has attentions 0 to '
            f'{attentions - 1} (negative numbers count from the end); name at '
            'least one, or None for all.'
        )
    return frozenset(i % attentions for i in layers)
