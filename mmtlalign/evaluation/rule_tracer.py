"""A single trace from which the labels of all rules are read.

Shapes: ``B`` batch, ``P`` special tokens, ``N`` image tokens, ``T`` both, ``S`` share
columns.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mmtlalign.evaluation.readers import StepTracer
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing import propagate
from mmtlalign.tracing.propagate import NO_PADDING, Padding, Pair
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import crop_to_tokens, start_share, token_grid
from mmtlalign.tracing.tracer import at_output

# Columns of the trace: TL-Align's share; the share of the box, not moved; and, to read
# rows of an attention, the mask of the partner's tokens and that of all image tokens.
TRACED, UNMOVED, ATTENDED = range(3)


class RuleTracer(StepTracer):
    """Tracer of the partner's share, of the unmoved box, and of TransMix's attention.

    Args:
        backbone: Backbone after ``attach``.
        mix: The mixed batch.
        output: ``'class'`` or ``'mean'``.
        **options: Options of the tracer.

    Attributes:
        start: Share of every token before the first attention (B, T).
        at_output: TL-Align's share at the output (B,), before the first and after each
            attention.
        attended: Share of the attention on the partner (B,) for each attention: that of
            the class token (NaN before it joins), or that from all image tokens.
        variation: Total variation of the share of the last tokens (B, T).
        history: (B, T, 2) after each attention: columns TRACED and UNMOVED.
    """

    def __init__(self, backbone: nn.Module, mix: Mix, output: str, **options: Any):
        spec = backbone_spec(backbone)
        grid, patch = token_grid(backbone, mix.images.shape[-2:]), spec.patch(backbone)
        start = start_share(backbone, mix)
        super().__init__(
            torch.cat([start, start, start.new_zeros(*start.shape[:2], 2)], dim=-1),
            grid,
            spec.prefix(backbone),
            backbone.trace_context.attentions,
            **options,
        )
        self.output = output
        self.mask = crop_to_tokens(mix, grid, patch).token_mask(grid, patch)
        self.start = start[..., 0]
        self.at_output = [at_output(self.start, self.prefix, output)]
        self.attended: list[Tensor] = []
        self.variation = torch.zeros(())

    def merge_tokens(
        self, kernel: Pair, stride: Pair, padding: Padding = NO_PADDING
    ) -> None:
        """Average the shares of each group, and keep the first of TransMix's mask."""
        self.mask, _ = propagate.merge_nearest(
            self.mask, self.grid, kernel, stride, padding
        )
        super().merge_tokens(kernel, stride, padding)

    def before_attention(self) -> None:
        """Set the columns that TransMix's share is computed from."""
        fresh = self.share.new_zeros(*self.share.shape[:2], 2)
        fresh[:, self.prefix :, 0] = self.mask
        fresh[:, self.prefix :, 1] = 1
        self.share = torch.cat([self.share[..., :ATTENDED], fresh], dim=-1)

    def after_attention(self, moved: Tensor) -> None:
        """Read the attention on the partner, of the class token or of all tokens."""
        if self.output == 'class':
            row = moved[:, 0, ATTENDED:]
        else:
            last = self.prefix + self.grid[0] * self.grid[1]
            row = moved[:, self.prefix : last, ATTENDED:].mean(dim=1)
        attended = row[:, 0] / row[:, 1]
        if self.output == 'class' and not self.prefix:
            attended = torch.full_like(attended, torch.nan)
        self.attended.append(attended)

    def _record(self, share: Tensor) -> None:
        before = self.share
        still = before[..., UNMOVED : UNMOVED + 1]
        super()._record(torch.cat([share[..., :UNMOVED], still], dim=-1))
        change = (share - before)[..., TRACED].abs()
        places = list(zip(self.grids, self.prefixes))[-2:]
        same = len(places) == 2 and places[0] == places[1]
        self.variation = self.variation + change if same else change
        self.at_output.append(at_output(share[..., TRACED], self.prefix, self.output))
