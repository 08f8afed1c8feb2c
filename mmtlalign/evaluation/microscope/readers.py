"""Readers of TransMix's share from the attention of every layer.

Shapes: ``B`` batch.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from mmtlalign.tracing import propagate
from mmtlalign.tracing.attention_readers import (
    AttentionShareReader,
    ClassTokenAttention,
    ReceivedAttention,
)


class EveryAttention(AttentionShareReader):
    """Mixin that reads every attention, not only the last.

    Attributes:
        by_layer: Share of the first output (B,) from each attention; None where the
            class token has not joined yet.
        shares: Share of each output (B,) from the attention that was read last.
    """

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.by_layer: list[Tensor | None] = []
        self.shares: tuple[Tensor, ...] = ()
        self._whole: Tensor | None = None

    def attend(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
    ) -> None:
        """Read an attention from its queries and keys."""
        self._read_one(super().attend, query, key, scale, mask)

    def weigh(self, weights: Tensor) -> None:
        """Read an attention from its weights."""
        self._read_one(super().weigh, weights)

    def reduce_keys(self, pooling: Callable[[Tensor], Tensor]) -> None:
        """Pool the mask for the next attention."""
        self._whole = self.mask
        self.mask = propagate.pool(self.mask[..., None], self.grid, 0, pooling)[..., 0]

    def _read_one(self, read: Callable, *args: Any) -> None:
        if self.prefix or isinstance(self, ReceivedAttention):
            read(*args)
            self.shares = self.output_shares()
            self.by_layer.append(self.shares[0])
        else:
            self.seen += 1
            self.by_layer.append(None)
        if self._whole is not None:
            self.mask, self._whole = self._whole, None

    def _is_read(self) -> bool:
        self.seen += 1
        return True


class _EveryClassToken(EveryAttention, ClassTokenAttention):
    """Read the attention of the class token in every layer."""


class _EveryReceived(EveryAttention, ReceivedAttention):
    """Read how much attention each token receives in every layer."""


EVERY: dict[str, type[EveryAttention]] = dict(
    cls=_EveryClassToken, received=_EveryReceived
)
