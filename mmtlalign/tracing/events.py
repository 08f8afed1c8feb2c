"""The events of one forward pass, and the base class of their readers.

A :class:`Reader` receives the events from the hooks that
:mod:`mmtlalign.tracing.attach` registers on a network. There are events

1. between attentions: ``embed``, ``merge_tokens``, ``add_special_tokens``;
2. before an attention whose keys are not simply all tokens: ``enter_windows``,
   ``reduce_keys``, ``append_tokens``;
3. for each attention, one of three: ``key_share`` and then ``move_share`` (the
   network's own attention moves the share), ``attend`` (given queries and keys),
   ``weigh`` (given weights); or ``move_tokens`` for a layer that mixes tokens with
   learnt weights;
4. after an attention in windows: ``leave_windows``.

Shapes: ``B`` batch, ``P`` special tokens, ``N`` image tokens, ``S`` share columns,
``H`` heads, ``D`` channels of a head.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from mmtlalign.compat.torch_2_1 import methods_outside_old_graphs
from mmtlalign.errors import TraceError, UnsupportedError
from mmtlalign.tracing.kernels import dispatch
from mmtlalign.tracing.propagate import NO_PADDING, Padding, Pair


class Reader:
    """Base class of readers of a forward pass; it keeps the geometry of the tokens.

    Args:
        grid: Token rows and columns ``(h, w)``.
        prefix: Number of special tokens P, which come first in the sequence.

    Attributes:
        grid, prefix: The same at the current point of the forward pass.
        seen: Number of attentions so far.
        windows: Arguments of :meth:`enter_windows` inside windows, else None.
        appended: Number of tokens that :meth:`append_tokens` appended.
    """

    def __init__(self, grid: Pair, prefix: int):
        dispatch.asked_way()  # raises before the forward pass if the setting is wrong
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
            query: (B, H, Nq, D). If there are fewer queries than tokens, as in class
                attention, they are those of the first tokens; the others do not change.
            key: (B, H, Nk, D), of the tokens as :meth:`enter_windows`,
                :meth:`reduce_keys` or :meth:`append_tokens` left them.
            scale: Factor of the logits.
            mask: Float mask that is added to the logits, or boolean mask that is True
                where a query may attend. Defaults to None.
        """
        raise NotImplementedError

    def weigh(self, weights: Tensor) -> None:
        """Read one attention from its weights.

        Args:
            weights: Softmax before dropout (..., H, Nq, Nk). Leading dimensions are
                batch, or batch and windows; queries and keys as in :meth:`attend`.
        """
        raise NotImplementedError

    def key_share(self, batch: int, keys: int) -> Tensor | None:
        """Return the share that the network's own attention moves with its values.

        Args:
            batch: Leading dimension B of the queries; B * windows in windows.
            keys: Number of keys Nk.

        Returns:
            Share of the next attention's keys (B, Nk, S). None: the reader needs
            queries and keys, or weights.
        """
        return None

    def move_share(self, moved: Tensor) -> None:
        """Receive the share of :meth:`key_share` after the attention (B, Nq, S)."""
        raise NotImplementedError

    def move_tokens(
        self, batch: int, tokens: int, move: Callable[[Tensor], Tensor]
    ) -> None:
        """Read a layer that mixes tokens with learnt weights in place of attention.

        Args:
            batch: Number of images of this forward pass.
            tokens: Number of tokens N.
            move: Function that moves a share (B, N, S) as the layer moves tokens.

        Raises:
            UnsupportedError: The reader supports only attention.
        """
        raise UnsupportedError(
            'This network mixes tokens by learnt weights, and has no attention that '
            'could be read: take TL-Align, or plain CutMix.'
        )

    def enter_windows(
        self, grid: Pair, window: Pair, shift: Pair = (0, 0), pad_first: bool = True
    ) -> None:
        """Announce that the next attention is computed inside windows.

        Args:
            grid: Token rows and columns, without padding.
            window: Rows and columns of a window.
            shift: Effective shift of this forward pass, rows and columns.
            pad_first: Whether the map is padded before it is shifted.
        """
        self.windows = (tuple(grid), tuple(window), tuple(shift), pad_first)

    def leave_windows(self) -> None:
        """Merge the windows again, which ends the attention."""
        self.windows = None

    def reduce_keys(self, pooling: Callable[[Tensor], Tensor]) -> None:
        """Announce pooled keys for the next attention (PVT, ICCV 2021, §3.3).

        Args:
            pooling: Function that averages maps (B, S, h, w) as the keys are reduced,
                such as ``functools.partial(F.avg_pool2d, kernel_size=8)``.
        """

    def append_tokens(self, count: int) -> None:
        """Announce tokens that are the mean of all tokens for the next attention.

        These are DHVT's head tokens (NeurIPS 2022, §3.4). After the attention their
        mean is added to the class token, and they are removed.
        """
        self.appended = count

    def merge_tokens(
        self, kernel: Pair, stride: Pair, padding: Padding = NO_PADDING
    ) -> None:
        """Merge each group of tokens into one.

        Args:
            kernel, stride: Size of a group and step between groups, rows and columns.
            padding: Left, right, top, bottom.
        """
        raise NotImplementedError

    def add_special_tokens(self, count: int = 1) -> None:
        """Prepend special tokens, which start at the mean of the others."""
        self.prefix += count

    def embed(self, kernel: Pair, stride: Pair, padding: Padding = NO_PADDING) -> None:
        """Read a patch embedding: the first creates tokens, later ones merge them.

        Arguments as in :meth:`merge_tokens`.
        """
        if self._embedded:
            self.merge_tokens(kernel, stride, padding)
        self._embedded = True


def flatten_batch(weights: Tensor) -> Tensor:
    """Flatten attention weights (..., H, Nq, Nk) to (B, H, Nq, Nk).

    Raises:
        TraceError: They have too few dimensions.
    """
    if weights.ndim < 4:
        raise TraceError(
            f'A softmax of shape {tuple(weights.shape)} in an attention: weights must '
            'be (..., heads, queries, keys). Register a module with another softmax '
            'by a function that reads only the attention: docs/add_a_backbone.md.'
        )
    return weights.flatten(0, -4)
