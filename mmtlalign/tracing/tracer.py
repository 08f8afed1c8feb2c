"""The tracer of TL-Align, a reader that follows shares through one forward pass.

Shapes: ``B`` batch, ``P`` special tokens, ``N`` image tokens, ``S`` share columns,
``H`` heads, ``D`` channels of a head.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmtlalign.errors import InputError, TraceError
from mmtlalign.tracing import propagate
from mmtlalign.tracing.events import Reader, flatten_batch
from mmtlalign.tracing.kernels import dispatch
from mmtlalign.tracing.options import (
    checked_head_token_rule,
    layer_indices,
    residual_weight,
)
from mmtlalign.tracing.propagate import NO_PADDING, Padding, Pair


class Tracer(Reader):
    """Follow shares through one forward pass (TL-Align, ICCV 2023, §3.3).

    Args:
        share: Initial shares (B, P + N, S), special tokens first. S = 1 traces the
            share of a partner image, S = K label vectors of K classes, and S = N,
            starting from the identity, the share of each token (attention rollout).
        grid: Token rows and columns ``(h, w)``, N = h * w.
        prefix: Number of special tokens P.
        attentions: Number of attentions of the backbone.
        layers: Attentions that move the share, by index; negative ones count from
            the end. Defaults to None: all.
        residual: Weight r of the share before an attention relative to the moved
            one, which models the residual connection: ``p <- (r p + A p) / (r + 1)``.
            True is the paper's 1, the plain mean; False is 0. Other values are
            an extension of ours. Defaults to True.
        head_token_rule: How DHVT's head tokens are merged into the class token.
            ``'nested'``: it averages its own moved share with theirs, then the result
            with its share before; ``'flat'``: it averages all three at once. The share
            before has weight ``residual`` in both. Defaults to ``'nested'``.

    Attributes:
        share: Current shares (B, P + N', S), float32.
        history: Shares after each attention so far.
        grids: Token grid of each entry of ``history``.
        prefixes: Number of special tokens of each entry of ``history``.
    """

    def __init__(
        self,
        share: Tensor,
        grid: Pair,
        prefix: int,
        attentions: int,
        layers: Sequence[int] | None = None,
        residual: bool | float = True,
        head_token_rule: str = 'nested',
    ):
        super().__init__(grid, prefix)
        self.share = share.detach().float()
        self.layers = layer_indices(layers, attentions)
        self.residual = residual_weight(residual)
        self.head_token_rule = checked_head_token_rule(head_token_rule)
        self.history: list[Tensor] = []
        self.grids: list[Pair] = []
        self.prefixes: list[int] = []
        # Share of the next attention's keys, if these are not simply all tokens.
        self._keys: Tensor | None = None
        # Inside windows: the moved share of the windows, or the moved and averaged
        # share of the whole map. Only one of the two is set.
        self._moved: Tensor | None = None
        self._averaged: Tensor | None = None

    def attend(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
    ) -> None:
        """Move the share by one attention, given its queries and keys."""
        share = self.key_share(len(query), key.shape[2])
        if self.windows is not None or self.appended or not self._counts():
            self.move_share(dispatch.propagate(query, key, share, scale, mask))
            return
        # One fused step with the average; tokens that are not queries do not change.
        before, rest = self.share.tensor_split([query.shape[2]], dim=1)
        moved = dispatch.propagate(
            query, key, share, scale, mask, before, self.residual
        )
        self._keys = None
        self._record(torch.cat([moved, rest], dim=1) if rest.shape[1] else moved)

    def weigh(self, weights: Tensor) -> None:
        """Move the share by one attention, given its weights."""
        weights = flatten_batch(weights)
        if self.windows is None:
            share = self.key_share(len(weights), weights.shape[-1])
            self.move_share(propagate.weigh(weights, share))
            return
        grid, window, shift, pad_first = self.windows
        self._check_batch(len(weights), propagate.count_windows(grid, window))
        self._averaged = self.share
        if self._counts():
            self._averaged = dispatch.weigh_windows(
                weights, self.share, grid, window, shift, pad_first, self.residual
            )

    def key_share(self, batch: int, keys: int) -> Tensor:
        """Return the share of the next attention's keys (B, Nk, S).

        Raises:
            TraceError: The forward pass has another number of images or tokens.
        """
        if self.windows is not None:
            share = propagate.to_windows(self.share, *self.windows)
        else:
            share = self.share if self._keys is None else self._keys
        self._check_batch(batch, len(share) // len(self.share))
        self._check_tokens(keys, share.shape[1])
        return share

    def enter_windows(
        self, grid: Pair, window: Pair, shift: Pair = (0, 0), pad_first: bool = True
    ) -> None:
        """Announce that the next attention is computed inside windows."""
        self._check_tokens(grid[0] * grid[1], self.share.shape[1])
        super().enter_windows(grid, window, shift, pad_first)

    def move_share(self, moved: Tensor) -> None:
        """Set the moved share (B, Nq, S); in windows it is kept until they are left."""
        if self.windows is not None:
            self._moved = moved
            return
        self._keys = None
        self._end_attention(moved)

    def move_tokens(
        self, batch: int, tokens: int, move: Callable[[Tensor], Tensor]
    ) -> None:
        """Move the share by a layer that mixes tokens with learnt weights."""
        self._check_batch(batch, 1)
        self._check_tokens(tokens, self.share.shape[1])
        self._end_attention(move(self.share) if self._counts() else self.share)

    def leave_windows(self) -> None:
        """Merge the moved shares of the windows back into the map."""
        assert self.windows is not None
        windows, moved, averaged = self.windows, self._moved, self._averaged
        self.windows = self._moved = self._averaged = None
        if moved is not None:
            columns = self.share.shape[-1]
            self._end_attention(propagate.from_windows(moved, *windows, columns))
        elif averaged is not None:
            self._record(averaged)

    def reduce_keys(self, pooling: Callable[[Tensor], Tensor]) -> None:
        """Pool the shares of the keys."""
        self._keys = propagate.pool(self.share, self.grid, self.prefix, pooling)

    def append_tokens(self, count: int) -> None:
        """Append tokens that start at the mean share of all tokens."""
        super().append_tokens(count)
        self._keys = propagate.append_mean(self.share, count)

    def merge_tokens(
        self, kernel: Pair, stride: Pair, padding: Padding = NO_PADDING
    ) -> None:
        """Average the shares of each group of tokens."""
        self.share, self.grid = propagate.merge(
            self.share, self.grid, kernel, stride, padding
        )

    def add_special_tokens(self, count: int = 1) -> None:
        """Put special tokens in front, at the mean share of the image tokens."""
        mean = self.share[:, self.prefix :].mean(dim=1)
        self.share = propagate.add_prefix(self.share, mean, count)
        super().add_special_tokens(count)

    def output_shares(self, output: str) -> tuple[Tensor, ...]:
        """Return the shares at the outputs of the network, each (B, S).

        Args:
            output: ``'class'`` for one share of each special token, ``'mean'`` for
                the mean over all image tokens.
        """
        if output not in ('class', 'mean') or (output == 'class' and not self.prefix):
            raise InputError(
                f"output={output!r} with {self.prefix} special tokens: 'class' needs "
                "at least one; 'mean' averages the image tokens."
            )
        if output == 'mean':
            return (self.share[:, self.prefix :].mean(dim=1),)
        return tuple(self.share[:, i] for i in range(self.prefix))

    def _counts(self) -> bool:
        """Return whether the current attention moves the share."""
        return self.layers is None or self.seen in self.layers

    def _check_batch(self, batch: int, windows: int) -> None:
        if batch != len(self.share) * windows:
            raise TraceError(
                f'A forward pass of {batch // windows} images, but the trace was '
                f'started for {len(self.share)}: pass mix.images to the network.'
            )

    def _check_tokens(self, tokens: int, known: int) -> None:
        if tokens != known:
            raise TraceError(
                f'A layer with {tokens} tokens in the forward pass, but {known} in the '
                'trace: pass mix.images to the network as they are, not resized.'
            )

    def _end_attention(self, moved: Tensor) -> None:
        """Average the moved share with the share before, and record the result."""
        share = self.share
        if self._counts() and self.appended:
            flat = self.head_token_rule == 'flat'
            share = propagate.average_appended(
                share, moved, self.appended, self.residual, flat
            )
        elif self._counts():
            share = propagate.average(share, moved, self.residual)
        self._record(share)

    def _record(self, share: Tensor) -> None:
        """Store the share after an attention."""
        self.share = share
        self.appended = 0
        self.history.append(share)
        self.grids.append(self.grid)
        self.prefixes.append(self.prefix)
        self.seen += 1


def at_output(values: Tensor, prefix: int, output: str) -> Tensor:
    """Return the value of the class token (B,), or the mean of the image tokens.

    Where there is no class token yet, it is the mean.

    Args:
        values: Values of the tokens (B, T).
        prefix: Number of special tokens.
        output: ``'class'`` or ``'mean'``.
    """
    if output == 'class' and prefix:
        return values[:, 0]
    return values[:, prefix:].mean(dim=1)
