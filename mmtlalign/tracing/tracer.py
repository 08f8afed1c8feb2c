"""The events of one forward pass, and the tracer that follows shares through them.

A :class:`Reader` receives the events from the hooks that
:mod:`mmtlalign.tracing.attach` puts onto a network; :class:`Tracer` is the reader of
TL-Align. There are events

1. between attentions: ``embed``, ``merge_tokens``, ``add_special_tokens``;
2. before an attention whose keys are not the tokens as they are: ``enter_windows``,
   ``reduce_keys``, ``append_tokens``;
3. for the attention one of three: ``key_share`` and then ``move_share`` (the network's
   own attention moves the share), ``attend`` (queries and keys), ``weigh`` (weights);
4. after an attention in windows: ``leave_windows``.

Shapes: ``B`` batch, ``P`` special tokens, ``N`` image tokens, ``S`` share columns,
``H`` heads, ``D`` channels of a head.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from mmtlalign.compat.torch_2_1 import methods_outside_old_graphs
from mmtlalign.errors import InputError, TraceError
from mmtlalign.tracing import propagate
from mmtlalign.tracing.options import known_rule, layer_indices, residual_weight
from mmtlalign.tracing.propagate import NO_PADDING, Padding, Pair


class Reader:
    """Base of what reads a forward pass: keeps the geometry of the tokens.

    Args:
        grid: Token rows and columns ``(h, w)``.
        prefix: Number of special tokens P, which lead the sequence.

    Attributes:
        grid, prefix: The same where the forward pass is now.
        seen: Number of attentions met.
        windows: Arguments of :meth:`enter_windows` while attention is in windows.
        appended: How many tokens :meth:`append_tokens` appended.
    """

    def __init__(self, grid: Pair, prefix: int):
        self.grid = grid
        self.prefix = prefix
        self.seen = 0
        self.windows: tuple | None = None
        self.appended = 0
        self._embedded = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        methods_outside_old_graphs(cls)

    def attend(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
    ) -> None:
        """Read one attention from its queries and keys.

        Args:
            query: (B, H, Nq, D). Fewer queries than tokens are the leading ones, as
                in class attention; the other tokens stay as they are.
            key: (B, H, Nk, D), of the tokens, or of what :meth:`enter_windows`,
                :meth:`reduce_keys` or :meth:`append_tokens` made of them.
            scale: Factor of the logits.
            mask: Added to the logits, or boolean. Defaults to None.
        """
        raise NotImplementedError

    def weigh(self, weights: Tensor) -> None:
        """Read one attention from its weights.

        Args:
            weights: Softmax before dropout (..., H, Nq, Nk). Leading dimensions are
                batch, or batch and windows; queries and keys as in :meth:`attend`.
        """
        raise NotImplementedError

    def key_share(self, batch: int) -> Tensor | None:
        """Return what the network's own attention is to move beside its values.

        Args:
            batch: Leading dimension B of the queries; B * windows in windows.

        Returns:
            Share of the next attention's keys (B, Nk, S). None: the reader takes
            queries and keys, or weights.
        """
        return None

    def move_share(self, moved: Tensor) -> None:
        """Take back what :meth:`key_share` returned, moved (B, Nq, S)."""
        raise NotImplementedError

    def enter_windows(
        self, grid: Pair, window: Pair, shift: Pair = (0, 0), pad_first: bool = True
    ) -> None:
        """Expect the next attention inside windows.

        Args:
            grid: Token rows and columns, without padding.
            window: Rows and columns of a window.
            shift: Effective shift of this forward pass, rows and columns.
            pad_first: Whether the map is padded before it is shifted.
        """
        self.windows = (tuple(grid), tuple(window), tuple(shift), pad_first)

    def leave_windows(self) -> None:
        """Put the windows together again, which ends the attention."""
        self.windows = None

    def reduce_keys(self, pooling: Callable[[Tensor], Tensor]) -> None:
        """Expect pooled tokens as keys of the next attention (PVT, ICCV 2021, §3.3).

        Args:
            pooling: Averages maps (B, S, h, w) as the keys are reduced, such as
                ``functools.partial(F.avg_pool2d, kernel_size=8)``.
        """

    def append_tokens(self, count: int) -> None:
        """Expect tokens made from the mean of all in the next attention.

        These are DHVT's head tokens (NeurIPS 2022, §3.4). After the attention their
        mean is added to the class token, and they are gone.
        """
        self.appended = count

    def merge_tokens(
        self, kernel: Pair, stride: Pair, padding: Padding = NO_PADDING
    ) -> None:
        """Merge groups of tokens into one each.

        Args:
            kernel, stride: Rows and columns of a group, and between groups.
            padding: Left, right, top, bottom.
        """
        raise NotImplementedError

    def add_special_tokens(self, count: int = 1) -> None:
        """Put special tokens, which start at the mean of the others, in front."""
        self.prefix += count

    def embed(self, kernel: Pair, stride: Pair, padding: Padding = NO_PADDING) -> None:
        """Pass a patch embedding: the first makes the tokens, others merge them.

        Arguments as in :meth:`merge_tokens`.
        """
        if self._embedded:
            self.merge_tokens(kernel, stride, padding)
        self._embedded = True


class Tracer(Reader):
    """Follow shares through one forward pass (TL-Align, ICCV 2023, §3.3).

    Args:
        share: Start (B, P + N, S), special tokens first. S = 1 for the share of a
            partner image; S = K starts from label vectors, S = N from the identity
            (attention rollout).
        grid: Token rows and columns ``(h, w)``, N = h * w.
        prefix: Number of special tokens P.
        attentions: How many attentions the backbone has.
        layers: Attentions that move the share, by index; negative ones count from
            the end. Defaults to None: all.
        residual: How much the share before an attention counts beside the moved
            one, as a residual connection does: ``p <- (r p + A p) / (r + 1)``.
            True is the paper's 1, the plain mean; False is 0. Other numbers are
            an extension of ours. Defaults to True.
        head_token_rule: How the class token takes in DHVT's head tokens.
            ``'nested'``: it averages its own attention with theirs, then the result
            with its share before; ``'flat'``: it averages all three alike. The share
            before counts ``residual`` times in both. Defaults to ``'nested'``.

    Attributes:
        share: Where the shares are now (B, P + N', S), float32.
        history: Share after every attention so far.
        grids: Token grid of every entry of ``history``.
        prefixes: Number of special tokens of every entry of ``history``.
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
        self.head_token_rule = known_rule(head_token_rule)
        self.history: list[Tensor] = []
        self.grids: list[Pair] = []
        self.prefixes: list[int] = []
        # Share of the next attention's keys, where they are not the tokens as they
        # are; in windows, the moved share until they are left.
        self._keys: Tensor | None = None

    def attend(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
    ) -> None:
        """Move the share by one attention, given its queries and keys."""
        share = self.key_share(len(query))
        self.move_share(propagate.attend(query, key, share, scale, mask))

    def weigh(self, weights: Tensor) -> None:
        """Move the share by one attention, given its weights."""
        weights = weights.flatten(0, -4)
        self.move_share(propagate.weigh(weights, self.key_share(len(weights))))

    def key_share(self, batch: int) -> Tensor:
        """Return the share of the next attention's keys (B, Nk, S).

        Raises:
            TraceError: The forward pass is of another batch.
        """
        share = self.share if self._keys is None else self._keys
        if len(share) != batch:
            images = batch * len(self.share) // len(share)
            raise TraceError(
                f'A forward pass of {images} images with the record of '
                f'{len(self.share)}: give the network mix.images.'
            )
        return share

    def move_share(self, moved: Tensor) -> None:
        """Take the share (B, Nq, S) of the queries; in windows, until they are left."""
        if self.windows is not None:
            self._keys = moved
            return
        self._keys = None
        self._end_attention(moved)

    def enter_windows(
        self, grid: Pair, window: Pair, shift: Pair = (0, 0), pad_first: bool = True
    ) -> None:
        """Cut the shares into windows."""
        super().enter_windows(grid, window, shift, pad_first)
        assert self.windows is not None
        self._keys = propagate.to_windows(self.share, *self.windows)

    def leave_windows(self) -> None:
        """Put the moved shares of the windows together again."""
        assert self.windows is not None and self._keys is not None
        columns = self.share.shape[-1]
        moved = propagate.from_windows(self._keys, *self.windows, columns)
        self.windows = self._keys = None
        self._end_attention(moved)

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
        """Read what arrives at the network's output, each (B, S).

        Args:
            output: ``'class'`` for one share of each special token, ``'mean'`` for
                the mean over all image tokens.
        """
        if output not in ('class', 'mean') or (output == 'class' and not self.prefix):
            raise InputError(
                f"output={output!r} with {self.prefix} special tokens: 'class' needs "
                "one, 'mean' is of the image tokens."
            )
        if output == 'mean':
            return (self.share[:, self.prefix :].mean(dim=1),)
        return tuple(self.share[:, i] for i in range(self.prefix))

    def _end_attention(self, moved: Tensor) -> None:
        """Average the moved share with the share before, and record the result."""
        if self.layers is None or self.seen in self.layers:
            if self.appended:
                flat = self.head_token_rule == 'flat'
                self.share = propagate.average_appended(
                    self.share, moved, self.appended, self.residual, flat
                )
            else:
                self.share = propagate.average(self.share, moved, self.residual)
        self.appended = 0
        self.history.append(self.share)
        self.grids.append(self.grid)
        self.prefixes.append(self.prefix)
        self.seen += 1
