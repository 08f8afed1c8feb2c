"""Readers of where the last attention looks (TransMix). As the tracer, they sit
on the context during one forward and are told the same events.

TransMix: weigh labels by attention (CVPR 2022, arXiv 2111.09833).

The share of the partner is where the class token of the last layer looks. As
the authors intend, it is averaged with the share by area (§4.1).
"""

import torch
from mmpretrain.models.heads import DeiTClsHead, LinearClsHead, VisionTransformerClsHead
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.methods.base import DistilledScores, MixHead
from mmtlalign.mixing.mix import Mix
from mmtlalign.registry import MODELS
from mmtlalign.tracing import propagate
from mmtlalign.tracing.attach import attach, covered, token_grid, trace_forward
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.tracer import Reader


class LastAttentionReader(Reader):
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
            self.mask = propagate.pool(self.mask[..., None], self.grid, 0, pooling)
            self.mask = self.mask[..., 0]

    def append_tokens(self, count: int) -> None:
        """As :meth:`Tracer.append_tokens`."""
        self._appended = count

    def merge(self, kernel, stride, padding=(0, 0, 0, 0)) -> None:
        """As :meth:`Tracer.merge`; the first token stands for its group."""
        self.mask, self.grid = propagate.merge_nearest(
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


class ClassTokenAttention(LastAttentionReader):
    """Where the special tokens look (TransMix, CVPR 2022, §3).

    Attributes:
        rows: (B, P, P + N), softmax before dropout, averaged over heads.
    """

    rows: Tensor | None = None

    def read(self, query, key, scale, mask) -> None:
        self._keep(propagate.prefix_rows(query, key, self.prefix, scale, mask))

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


class ReceivedAttention(LastAttentionReader):
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
            weight = weight / propagate.attend(query, key, seen, scale, mask)[..., 0]
        self._keep(propagate.column_means(query, key, weight, scale, mask))

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
            windows = propagate.to_windows(ones, *self._windows)[..., 0]
            return windows.repeat(like.shape[0] // windows.shape[0], 1)
        weight = torch.ones(1, queries, device=like.device)
        weight[:, : self.prefix] = 0
        weight[:, queries - self._appended :] = 0
        return weight

    def _keep(self, columns: Tensor) -> None:
        if self._windows is not None:
            columns = propagate.from_windows(columns[..., None], *self._windows, 1)
            self.columns = columns[..., 0]
        else:
            self.columns = self._spread(columns)[:, self.prefix :]


def attention_reader(
    backbone: nn.Module,
    mix: Mix,
    kind: type[ClassTokenAttention] | type[ReceivedAttention],
) -> ClassTokenAttention | ReceivedAttention:
    """A reader of where the last attention of an attached backbone looks."""
    family = backbone_spec(backbone)
    grid = token_grid(backbone, mix.images.shape[-2:])
    patch = family.patch(backbone)
    return kind(
        covered(mix, grid, patch).token_mask(grid, patch),
        grid,
        family.prefix(backbone),
        backbone.trace_context.attentions,
    )


_WRONG_LOOKS = {
    'class': (
        '{} does not output a class token: TransMix weighs labels by the class '
        "token's attention. Use a backbone with one (VisionTransformer with "
        "out_type='cls_token', mmtlalign.CASwin), looks='columns' (an extension "
        'without class token), or TL-Align, which needs none.'
    ),
    'mean': (
        "looks='columns' is for networks without a class token, and {} outputs "
        "one: leave it at 'class'."
    ),
}


class TransMix(MixHead):
    """Reads the target from the class token's attention.

    Args:
        ratio: Weight of the area share; the rest is the attention's. The
            official code's argument of this name is not read there; its value
            is this default. Defaults to 0.5.
        looks: Whose attention weighs. ``'class'``: the class token's, as in
            the paper. ``'columns'``: how much each token is looked at by all
            image tokens of the last layer; an extension of ours for networks
            without a class token, not in the paper. Defaults to ``'class'``.
        **kwargs: As of the mmpretrain head.
    """

    def __init__(self, *args, ratio: float = 0.5, looks: str = 'class', **kwargs):
        super().__init__(*args, **kwargs)
        if not 0 <= ratio <= 1:
            raise InputError(f'ratio={ratio}: a weight lies between 0 and 1.')
        if looks not in ('class', 'columns'):
            raise InputError(f"looks={looks!r}: choose 'class' or 'columns'.")
        self.ratio = ratio
        self.looks = looks

    def attach(self, backbone) -> None:
        """Tap the backbone; errors as in :class:`MixHead`, and no class token."""
        super().attach(backbone)
        needed = 'mean' if self.looks == 'columns' else 'class'
        if self.output != needed:
            raise InputError(_WRONG_LOOKS[needed].format(type(backbone).__name__))
        attach(backbone)

    def trace(self, backbone, mix: Mix, data_samples=None):
        """Read where the last attention looks."""
        kind = ReceivedAttention if self.looks == 'columns' else ClassTokenAttention
        return trace_forward(backbone, attention_reader(backbone, mix, kind))

    def partner_shares(
        self, mix: Mix, seen: ClassTokenAttention | ReceivedAttention
    ) -> tuple[Tensor, ...]:
        """Where it is looked, averaged with the area, for each output (B,)."""
        area = mix.area()
        return tuple(
            self.ratio * area + (1 - self.ratio) * looked
            for looked in seen.output_shares()[: self.outputs]
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
