"""Readers of a single attention of a forward pass.

Shapes: ``B`` batch, ``H`` heads, ``P`` special tokens, ``N`` image tokens, ``D``
channels of a head, ``h, w`` token rows and columns.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError, TraceError, UnsupportedError
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing import propagate
from mmtlalign.tracing.events import Reader, flatten_batch
from mmtlalign.tracing.kernels import dispatch
from mmtlalign.tracing.propagate import NO_PADDING, Padding, Pair
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import crop_to_tokens, token_grid


def attention_share(attention: Tensor, mask: Tensor) -> Tensor:
    """Return the share of the attention that falls on the partner, (...).

    Args:
        attention: Attention on the image tokens, without special tokens (..., N).
        mask: Share of the partner in each token, 0...1 (..., N).
    """
    return (attention * mask).sum(dim=-1) / attention.sum(dim=-1)


def transmix_share(attended: Tensor, area: Tensor, ratio: float = 0.5) -> Tensor:
    """Return TransMix's share of the partner (CVPR 2022, §3), (..., B).

    Args:
        attended: Output of :func:`attention_share` (..., B). The paper uses that of the
            last layer; other layers are our choice.
        area: Share of the partner by area (B,).
        ratio: Weight of the area. Defaults to 0.5.
    """
    return ratio * area + (1 - ratio) * attended


class AttentionShareReader(Reader):
    """Base class of readers of one attention, by default the last.

    Subclasses define what they read from queries and keys (:meth:`read`) or from
    weights (:meth:`read_weights`).

    Args:
        mask: Share of the partner in each image token (B, N).
        grid: Token rows and columns ``(h, w)``, N = h * w.
        prefix: Number of special tokens P.
        attentions: Number of attentions of the backbone.
        layer: Valid index of the attention that is read; negative ones count from the
            end. Defaults to -1.

    Attributes:
        mask: The mask on the current tokens, up to that attention.
    """

    def __init__(
        self, mask: Tensor, grid: Pair, prefix: int, attentions: int, layer: int = -1
    ):
        super().__init__(grid, prefix)
        self.mask = mask
        self.layer = layer % attentions

    def attend(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
    ) -> None:
        """Read queries and keys if this is the chosen attention."""
        if self._is_read():
            self.read(query, key, scale, mask)
        self.appended = 0

    def weigh(self, weights: Tensor) -> None:
        """Read weights if this is the chosen attention."""
        if self._is_read():
            mean = flatten_batch(weights.detach()).mean(dim=1, dtype=torch.float32)
            self.read_weights(mean)
        self.appended = 0

    def reduce_keys(self, pooling: Callable[[Tensor], Tensor]) -> None:
        """Pool the mask to the keys of the chosen attention."""
        if self.seen == self.layer:
            self.mask = propagate.pool(self.mask[..., None], self.grid, 0, pooling)
            self.mask = self.mask[..., 0]

    def merge_tokens(
        self, kernel: Pair, stride: Pair, padding: Padding = NO_PADDING
    ) -> None:
        """Merge the tokens of the mask, keeping the first of each group."""
        if self.seen > self.layer:
            return  # the attention that was read is on the tokens before merging
        self.mask, self.grid = propagate.merge_nearest(
            self.mask, self.grid, kernel, stride, padding
        )

    def output_shares(self) -> tuple[Tensor, ...]:
        """Return the partner's share of the attention (B,) for each output."""
        raise NotImplementedError

    def saliency(self) -> Tensor:
        """Return the attention on each image token (B, h, w), float32."""
        raise NotImplementedError

    def partner_share(self, attention: Tensor) -> Tensor:
        """Return :func:`attention_share` for the mask of this batch.

        Args:
            attention: Attention on the image tokens (..., N), of B images.

        Raises:
            TraceError: The forward pass had other images.
        """
        images, tokens = len(attention), attention.shape[-1]
        if (images, tokens) != tuple(self.mask.shape):
            raise TraceError(
                f'A forward pass of {images} images with {tokens} tokens, but the '
                f'trace was started for {self.mask.shape[0]} with '
                f'{self.mask.shape[1]}: pass mix.images to the network.'
            )
        mask = self.mask.unflatten(1, (*[1] * (attention.ndim - 2), -1))
        return attention_share(attention, mask)

    def read(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None
    ) -> None:
        """Read the attention from queries and keys (B, H, N, D)."""
        raise NotImplementedError

    def read_weights(self, weights: Tensor) -> None:
        """Read the attention from weights (B, Nq, Nk), the mean of the heads."""
        raise NotImplementedError

    def _spread_appended(self, attention: Tensor) -> Tensor:
        """Spread the attention on appended means equally over all N tokens."""
        if not self.appended:
            return attention
        attention, extra = attention.tensor_split([-self.appended], dim=-1)
        return attention + extra.sum(dim=-1, keepdim=True) / attention.shape[-1]

    def _is_read(self) -> bool:
        self.seen += 1
        return self.seen == self.layer + 1


class ClassTokenAttention(AttentionShareReader):
    """Read the attention of the special tokens (TransMix, CVPR 2022, §3).

    Attributes:
        rows: (B, P, P + N), softmax before dropout, averaged over heads.
    """

    rows: Tensor

    def read(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None
    ) -> None:
        """Keep the rows of the special tokens."""
        rows = dispatch.class_rows(query, key, self.prefix, scale, mask)
        self.rows = self._spread_appended(rows)

    def read_weights(self, weights: Tensor) -> None:
        """Keep the rows of the special tokens."""
        self.rows = self._spread_appended(weights[:, : self.prefix])

    def output_shares(self) -> tuple[Tensor, ...]:
        """Return the partner's share (B,) of the attention of each special token.

        Attention on special tokens is left out.
        """
        rows = self.rows[:, :, self.prefix :]
        return self.partner_share(rows).unbind(dim=1)

    def saliency(self) -> Tensor:
        """Return the attention of the first special token (B, h, w), float32."""
        paid = self.rows[:, 0, self.prefix :]
        return paid.float().unflatten(1, tuple(self.grid))


class ReceivedAttention(AttentionShareReader):
    """Read how much attention each image token receives.

    An extension of ours, not in the paper, for networks without class token: the
    column sums of the attention replace the class token's row.

    Attributes:
        columns: (B, N), mean over heads of the sum over the queries of image tokens.
    """

    columns: Tensor

    def read(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None
    ) -> None:
        """Keep the column sums."""
        weight = self._query_weight(query.shape[-2], query)
        if self._is_padded():
            share = weight.expand(len(query), -1)[..., None]
            moved = dispatch.propagate(query, key, share, scale, mask)
            weight = _divide(weight, moved[..., 0])
        self._keep(dispatch.received(query, key, weight, scale, mask))

    def read_weights(self, weights: Tensor) -> None:
        """Keep the column sums."""
        weight = self._query_weight(weights.shape[1], weights)
        if self._is_padded():
            moved = propagate.multiply(weights, weight[..., None])
            weight = _divide(weight, moved[..., 0])
        self._keep((weights * weight[..., None]).sum(dim=1))

    def output_shares(self) -> tuple[Tensor, ...]:
        """Return the share (B,) of all attention that the partner receives."""
        return (self.partner_share(self.columns),)

    def saliency(self) -> Tensor:
        """Return the mean over all queries of their attention (B, h, w), float32."""
        paid = self.columns / self.columns.shape[1]
        return paid.float().unflatten(1, tuple(self.grid))

    def _is_padded(self) -> bool:
        """Return whether windows contain padding, which receives attention."""
        if self.windows is None:
            return False
        return any(side % width for side, width in zip(*self.windows[:2]))

    def _query_weight(self, queries: int, like: Tensor) -> Tensor:
        """Return 1 for queries that are image tokens, else 0, (1 or B, Nq).

        Raises:
            UnsupportedError: No query is an image token.
        """
        if self.windows is not None:
            ones = torch.ones(1, self.grid[0] * self.grid[1], 1, device=like.device)
            windows = propagate.to_windows(ones, *self.windows)[..., 0]
            return windows.repeat(like.shape[0] // windows.shape[0], 1)
        if queries - self.appended <= self.prefix:
            raise UnsupportedError(
                'The last attention of this network is that of the class token alone, '
                "so no image token attends to another: use attention='cls', not "
                "attention='received'."
            )
        weight = torch.ones(1, queries, device=like.device)
        weight[:, : self.prefix] = 0
        weight[:, queries - self.appended :] = 0
        return weight

    def _keep(self, columns: Tensor) -> None:
        if self.windows is not None:
            columns = propagate.from_windows(columns[..., None], *self.windows, 1)
            self.columns = columns[..., 0]
        else:
            self.columns = self._spread_appended(columns)[:, self.prefix :]


def _divide(weight: Tensor, real: Tensor) -> Tensor:
    """Divide by the attention on real tokens, 0 where padding sees only padding."""
    return weight / real.where(real > 0, 1)


READERS = {'cls': ClassTokenAttention, 'received': ReceivedAttention}


def attention_reader(
    backbone: nn.Module,
    mix: Mix,
    attention: str = 'cls',
    layer: int = -1,
    readers: Mapping[str, type[AttentionShareReader]] = READERS,
) -> AttentionShareReader:
    """Return a reader of one attention of an attached backbone, by default the last.

    Args:
        backbone: Backbone after ``attach``.
        mix: The mixed batch.
        attention: A key of ``readers``. Defaults to ``'cls'``.
        layer: Index of the attention; negative ones count from the end. Defaults to
            -1.
        readers: Reader classes by name. Defaults to :data:`READERS`.
    """
    spec = backbone_spec(backbone)
    grid = token_grid(backbone, mix.images.shape[-2:])
    patch = spec.patch(backbone)
    mask = crop_to_tokens(mix, grid, patch).token_mask(grid, patch)
    return readers[attention](
        mask.expand(len(mix.images), -1),
        grid,
        spec.prefix(backbone),
        backbone.trace_context.attentions,
        layer,
    )


def check_layer(backbone: nn.Module, layer: int) -> None:
    """Check that an attention of an attached backbone can be read.

    Raises:
        InputError: It does not exist, or lies before the class token joins.
    """
    name, context = type(backbone).__name__, backbone.trace_context
    count = context.attentions
    if not -count <= layer < count:
        raise InputError(
            f'layer={layer}: {name} has attentions 0 to {count - 1} (negative numbers '
            'count from the end).'
        )
    if layer != -1 and context.late_tokens:
        raise InputError(
            f'layer={layer}: the class token of {name} is added after the first '
            'layers, so only the last attention can be read; remove layer.'
        )
