"""The last attention of a backbone, head by head, for pictures and measurements."""

import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.methods.transmix import LastAttentionReader
from mmtlalign.tracing import propagate
from mmtlalign.tracing.attach import attach, detach
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import token_grid, trace_forward


class LastAttention(LastAttentionReader):
    """Reader that keeps the weights of the last attention.

    It stores what no training may: all weights, tokens times tokens.

    Args:
        grid: Token grid of the image.
        prefix: Number of special tokens.
        attentions: How many attentions the backbone has.

    Attributes:
        weights: (B * windows, heads, Nq, Nk), softmax before dropout.
    """

    weights: Tensor | None = None

    def __init__(self, grid: tuple[int, int], prefix: int, attentions: int):
        super().__init__(torch.zeros(1, grid[0] * grid[1]), grid, prefix, attentions)

    def weigh(self, weights: Tensor) -> None:
        """Read attention weights (..., H, Nq, Nk); the heads stay apart."""
        if self._is_last():
            self._keep(weights.flatten(0, -4))
        self.appended = 0

    def read(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None
    ) -> None:
        """Keep the weights of the last attention."""
        logits = query.float() @ key.float().mT * scale
        if mask is not None and mask.dtype == torch.bool:
            logits = logits.masked_fill(~mask, -torch.inf)
        elif mask is not None:
            logits = logits + mask.float()
        self._keep(logits.softmax(dim=-1))

    def maps(self) -> Tensor:
        """Return the attention of each head on the tokens (B, heads, h, w).

        That is the class token's row, or without class token the mean row of all
        tokens, inside windows of those in the window; what falls on special tokens is
        left out.
        """
        return self._maps

    def _keep(self, weights: Tensor) -> None:
        self.weights = weights.detach().float()
        rows = self.weights[:, :, : self.prefix or None].mean(dim=2)
        if self.windows is not None:
            heads = rows.shape[1]
            rows = propagate.from_windows(rows.mT, *self.windows, heads).mT
        rows = rows[..., self.prefix :]
        count = self.grid[0] * self.grid[1]
        if rows.shape[-1] != count + self.appended:
            raise InputError(
                f'The last attention has {rows.shape[-1]} keys for {count} tokens: '
                'they are pooled, so its weights belong to no place. Look at a '
                'backbone whose last attention is over all its tokens.'
            )
        self._maps = rows[..., :count].unflatten(-1, self.grid)


@torch.no_grad()
def last_attention(backbone: nn.Module, images: Tensor) -> LastAttention:
    """Run a backbone and keep its last attention.

    Args:
        backbone: Known to tracing; in eval mode.
        images: Normalised (B, 3, H, W).

    Raises:
        TypeError: Its attention is not known.
    """
    attached = getattr(backbone, 'trace_context', None) is not None
    context = attach(backbone)
    reader = LastAttention(
        token_grid(backbone, images.shape[-2:]),
        backbone_spec(backbone).prefix(backbone),
        context.attentions,
    )
    try:
        with trace_forward(backbone, reader):
            backbone(images)
    finally:
        if not attached:
            detach(backbone)
    return reader
