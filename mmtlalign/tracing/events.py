"""The events of one forward pass, and the base of what reads them.

A :class:`Reader` receives the events from the hooks that
:mod:`mmtlalign.tracing.attach` puts onto a network. There are events

1. between attentions: ``embed``, ``merge_tokens``, ``add_special_tokens``;
2. before an attention whose keys are not the tokens as they are: ``enter_windows``,
   ``reduce_keys``, ``append_tokens``;
3. for the attention one of three: ``key_share`` and then ``move_share`` (the network's
   own attention moves the share), ``attend`` (queries and keys), ``weigh`` (weights);
   in its place ``move_tokens``, where learnt weights mix the tokens;
4. after an attention in windows: ``leave_windows``.

Shapes: ``B`` batch, ``P`` special tokens, ``N`` image tokens, ``S`` share columns,
``H`` heads, ``D`` channels of a head.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from mmtlalign.compat.torch_2_1 import methods_outside_old_graphs
from mmtlalign.errors import UnsupportedError
from mmtlalign.tracing.kernels import dispatch
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
        dispatch.asked_way()  # what is wrong with it is said before the forward pass
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

    def move_tokens(self, batch: int, move: Callable[[Tensor], Tensor]) -> None:
        """Pass a layer that mixes tokens by learnt weights in place of attention.

        Args:
            batch: Images of this forward pass.
            move: Moves a share (B, N, S) as the layer moves tokens.

        Raises:
            UnsupportedError: The reader reads attention.
        """
        raise UnsupportedError(
            'This network mixes tokens by learnt weights, and has no attention that '
            'could be read: take TL-Align, or plain CutMix.'
        )

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
