"""TransMix: weigh labels by attention (CVPR 2022, arXiv 2111.09833).

The partner's share of the target is the attention that the class token of the last
layer pays to it, averaged with the share by area, as the authors intend (§4.1).

Shapes: ``B`` batch, ``H`` heads, ``P`` special tokens, ``N`` image tokens, ``D``
channels of a head, ``h, w`` token rows and columns.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from mmpretrain.models.heads import DeiTClsHead, LinearClsHead, VisionTransformerClsHead
from torch import Tensor, nn

from mmtlalign.compat.renamed import renamed_arguments
from mmtlalign.errors import InputError
from mmtlalign.methods.base import DistilledScores, MixHead
from mmtlalign.mixing.mix import Mix
from mmtlalign.registry import MODELS
from mmtlalign.tracing import propagate
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.kernels.rows_and_columns import column_means, prefix_rows
from mmtlalign.tracing.propagate import NO_PADDING, Padding, Pair
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import crop_to_tokens, token_grid, trace_forward
from mmtlalign.tracing.tracer import Reader


class LastAttentionReader(Reader):
    """Count the attentions and read the last one.

    Subclasses say what they read from queries and keys (:meth:`read`) or from weights
    (:meth:`read_weights`).

    Args:
        mask: Share of the partner in each image token (1 or B, N).
        grid: Token rows and columns ``(h, w)``, N = h * w.
        prefix: Number of special tokens P.
        attentions: How many attentions the backbone has.

    Attributes:
        mask: The same where the forward pass is now.
    """

    def __init__(self, mask: Tensor, grid: Pair, prefix: int, attentions: int):
        super().__init__(grid, prefix)
        self.mask = mask
        self.attentions = attentions

    def attend(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
    ) -> None:
        """Read queries and keys if this attention is the last."""
        if self._is_last():
            self.read(query, key, scale, mask)
        self.appended = 0

    def weigh(self, weights: Tensor) -> None:
        """Read weights if this attention is the last."""
        if self._is_last():
            mean = weights.detach().flatten(0, -4).mean(dim=1, dtype=torch.float32)
            self.read_weights(mean)
        self.appended = 0

    def reduce_keys(self, pooling: Callable[[Tensor], Tensor]) -> None:
        """Pool the mask, whose tokens are the keys, before the last attention."""
        if self.seen == self.attentions - 1:
            self.mask = propagate.pool(self.mask[..., None], self.grid, 0, pooling)
            self.mask = self.mask[..., 0]

    def merge_tokens(
        self, kernel: Pair, stride: Pair, padding: Padding = NO_PADDING
    ) -> None:
        """Let the first token of a group stand for it."""
        self.mask, self.grid = merge_nearest(
            self.mask, self.grid, kernel, stride, padding
        )

    def output_shares(self) -> tuple[Tensor, ...]:
        """Return the partner's share of the attention, for each output (B,)."""
        raise NotImplementedError

    def read(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None
    ) -> None:
        """Read the last attention from queries and keys (B, H, N, D)."""
        raise NotImplementedError

    def read_weights(self, weights: Tensor) -> None:
        """Read the last attention from weights (B, Nq, Nk), the mean of the heads."""
        raise NotImplementedError

    def _spread_appended(self, attention: Tensor) -> Tensor:
        """Give what is paid to a mean of all tokens (..., N + count) to all alike."""
        if not self.appended:
            return attention
        attention, extra = attention.tensor_split([-self.appended], dim=-1)
        return attention + extra.sum(dim=-1, keepdim=True) / attention.shape[-1]

    def _is_last(self) -> bool:
        self.seen += 1
        return self.seen == self.attentions


class ClassTokenAttention(LastAttentionReader):
    """Read the attention of the special tokens (TransMix, CVPR 2022, §3).

    Attributes:
        rows: (B, P, P + N), softmax before dropout, averaged over heads.
    """

    rows: Tensor

    def read(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None
    ) -> None:
        """Keep the rows of the special tokens."""
        rows = prefix_rows(query, key, self.prefix, scale, mask)
        self.rows = self._spread_appended(rows)

    def read_weights(self, weights: Tensor) -> None:
        """Keep the rows of the special tokens."""
        self.rows = self._spread_appended(weights[:, : self.prefix])

    def output_shares(self) -> tuple[Tensor, ...]:
        """Return the share of each special token's attention on the partner, (B,).

        The columns of the special tokens do not count.
        """
        rows = self.rows[:, :, self.prefix :]
        paid = (rows * self.mask[:, None]).sum(dim=-1) / rows.sum(dim=-1)
        return paid.unbind(dim=1)


class ReceivedAttention(LastAttentionReader):
    """Read how much attention each image token receives.

    An extension of ours, not in the paper, for networks without class token: the mean
    of the columns of the last attention takes the place of the class token's row.

    Attributes:
        columns: (B, N), averaged over heads and image tokens.
    """

    columns: Tensor

    def read(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None
    ) -> None:
        """Keep the means of the columns."""
        weight = self._query_weight(query.shape[-2], query)
        if self._is_padded():
            share = weight.expand(len(query), -1)[..., None]
            weight = weight / propagate.attend(query, key, share, scale, mask)[..., 0]
        self._keep(column_means(query, key, weight, scale, mask))

    def read_weights(self, weights: Tensor) -> None:
        """Keep the means of the columns."""
        weight = self._query_weight(weights.shape[1], weights)
        if self._is_padded():
            weight = weight / (weights @ weight[..., None])[..., 0]
        self._keep((weights * weight[..., None]).sum(dim=1))

    def output_shares(self) -> tuple[Tensor, ...]:
        """Return the share of all attention that the partner receives, (B,)."""
        received = (self.columns * self.mask).sum(dim=-1) / self.columns.sum(dim=-1)
        return (received,)

    def _is_padded(self) -> bool:
        """Return whether padding, which is no part of the image, receives attention."""
        if self.windows is None:
            return False
        return any(side % width for side, width in zip(*self.windows[:2]))

    def _query_weight(self, queries: int, like: Tensor) -> Tensor:
        """Return 1 for queries that are image tokens, else 0, (1 or B, Nq)."""
        if self.windows is not None:
            ones = torch.ones(1, self.grid[0] * self.grid[1], 1, device=like.device)
            windows = propagate.to_windows(ones, *self.windows)[..., 0]
            return windows.repeat(like.shape[0] // windows.shape[0], 1)
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


READERS = {'cls': ClassTokenAttention, 'received': ReceivedAttention}


def attention_reader(
    backbone: nn.Module, mix: Mix, attention: str = 'cls'
) -> LastAttentionReader:
    """Make a reader of the last attention of an attached backbone.

    Args:
        backbone: Attached.
        mix: The mixed batch.
        attention: A key of :data:`READERS`. Defaults to ``'cls'``.
    """
    spec = backbone_spec(backbone)
    grid = token_grid(backbone, mix.images.shape[-2:])
    patch = spec.patch(backbone)
    return READERS[attention](
        crop_to_tokens(mix, grid, patch).token_mask(grid, patch),
        grid,
        spec.prefix(backbone),
        backbone.trace_context.attentions,
    )


class TransMix(MixHead):
    """Mixin: weigh the labels by the attention of the last layer.

    Args:
        ratio (float): Weight of the share by area; the rest is the attention's. The
            official code's argument of this name is not read there; its value is this
            default. Defaults to 0.5.
        attention (str): Whose attention weighs. ``'cls'``: that of the class token, as
            in the paper. ``'received'``: how much each token receives from all image
            tokens; an extension of ours for networks without a class token. Defaults
            to ``'cls'``.
        **kwargs: As of the mmpretrain head.
    """

    @renamed_arguments(
        looks='attention',
        values=dict(attention={'class': 'cls', 'columns': 'received'}),
    )
    def __init__(
        self, *args: Any, ratio: float = 0.5, attention: str = 'cls', **kwargs: Any
    ):
        super().__init__(*args, **kwargs)
        if not 0 <= ratio <= 1:
            raise InputError(f'ratio={ratio}: a weight lies between 0 and 1.')
        if attention not in READERS:
            raise InputError(f"attention={attention!r}: choose 'cls' or 'received'.")
        self.ratio = ratio
        self.attention = attention

    def attach(self, backbone: nn.Module) -> None:
        """Attach tracing to the backbone.

        Raises:
            UnsupportedError: The backbone or an attention in it is not known.
            InputError: Its outputs are not what the head scores, or it has a class
                token where ``attention`` is for networks without, or the reverse.
        """
        super().attach(backbone)
        name = type(backbone).__name__
        if self.attention == 'cls' and self.output != 'class':
            raise InputError(
                f'{name} does not output a class token, whose attention TransMix '
                'weighs labels by. Use a backbone with one (VisionTransformer with '
                "out_type='cls_token', mmtlalign.CASwin), attention='received' (an "
                'extension without class token), or TL-Align, which needs none.'
            )
        if self.attention == 'received' and self.output == 'class':
            raise InputError(
                f"attention='received' is for networks without a class token, and "
                f"{name} outputs one: leave it at 'cls'."
            )
        attach(backbone)

    def trace(
        self, backbone: nn.Module, mix: Mix, data_samples: list | None = None
    ) -> AbstractContextManager[LastAttentionReader]:
        """Read the last attention of one forward pass."""
        reader = attention_reader(backbone, mix, self.attention)
        return trace_forward(backbone, reader)

    def partner_shares(
        self, mix: Mix, trace: LastAttentionReader
    ) -> tuple[Tensor, ...]:
        """Average the attention on the partner with its area, for each output (B,)."""
        area = mix.area()
        return tuple(
            self.ratio * area + (1 - self.ratio) * share
            for share in trace.output_shares()[: self.outputs]
        )


@MODELS.register_module()
class TransMixLinearClsHead(TransMix, LinearClsHead):
    """mmpretrain's ``LinearClsHead`` with TransMix; arguments of both."""


@MODELS.register_module()
class TransMixVisionTransformerClsHead(TransMix, VisionTransformerClsHead):
    """mmpretrain's ``VisionTransformerClsHead`` with TransMix; arguments of both."""


@MODELS.register_module()
class TransMixDeiTClsHead(TransMix, DistilledScores, DeiTClsHead):
    """mmpretrain's ``DeiTClsHead`` with TransMix; arguments of both."""


@torch.no_grad()
def merge_nearest(
    mask: Tensor,
    grid: Pair,
    kernel: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
) -> tuple[Tensor, Pair]:
    """Merge the tokens of a mask: the first one stands for its group (§3).

    Args:
        mask: (1 or B, h * w).
        grid: ``(h, w)``.
        kernel, stride: Size and step of a group, in tokens.
        padding: Left, right, top, bottom.

    Returns:
        Merged mask (1 or B, h' * w') and the new grid ``(h', w')``.
    """
    left, right, top, bottom = padding
    rows = (grid[0] + top + bottom - kernel[0]) // stride[0] + 1
    columns = (grid[1] + left + right - kernel[1]) // stride[1] + 1
    maps = mask.unflatten(1, grid)[:, :: stride[0], :: stride[1]]
    return maps[:, :rows, :columns].flatten(1), (rows, columns)
