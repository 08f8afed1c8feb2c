"""Contribution and presence: how much of every token is left in the outputs.

TL-Align (ICCV 2023), §3.2. For an operation with weights ``w`` from inputs to outputs,
``c(i -> j) = |w[j, i]| / sum_k |w[j, k]|`` is the contribution of input i to output j,
and ``p(i) = sum_j c(i -> j)`` its presence; presences sum to the number of outputs. The
paper uses both orders of the two indices; with absolute values and rows as outputs only
one reading is possible. The paper does not define how presence accumulates over layers:
the product of ``(I + A) / 2`` is our choice, with which TL-Align itself moves labels.

Shapes: ``B`` batch, ``P`` special tokens, ``N`` image tokens, ``h, w`` token grid.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.evaluation.readers import (
    StepTracer,
    backbone_of,
    output_of,
    read_forward,
)
from mmtlalign.tracing.propagate import Pair
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import token_grid

# Columns of the identity that one forward pass traces.
CHUNK = 256


def contribution(weights: Tensor) -> Tensor:
    """Return the contribution of each input to each output.

    Args:
        weights: (..., outputs, inputs), which may be negative. A row of zeros gives
            NaN.

    Returns:
        Contributions of the same shape; rows sum to one.
    """
    size = weights.abs()
    return size / size.sum(dim=-1, keepdim=True)


def presence(weights: Tensor) -> Tensor:
    """Return the presence of each input (..., inputs).

    Args:
        weights: (..., outputs, inputs); for attention the softmax, averaged over heads
            for the layer, or for each head.
    """
    return contribution(weights).sum(dim=-2)


def convolution_presence(kernel: Tensor, grid: Pair) -> Tensor:
    """Return the presence of each position under a 'same' convolution of stride 1.

    With zero padding and sides 2r + 1 it is exactly 1 for positions at least 2r steps
    from the border. From r to 2r - 1 steps it is above 1, as some outputs have fewer
    other inputs; closer to the border it may be above or below 1.

    Args:
        kernel: Kernel (kh, kw) of odd sides, or weights of a layer (out, in, kh, kw),
            whose absolute values are summed over the channels (a rule of ours).
        grid: Rows and columns of the map.

    Returns:
        Presence (h, w), of the kernel's type.

    Raises:
        InputError: A side is even, so that 'same' has no centre.
    """
    size = kernel.detach().abs()
    size = size.sum(dim=(0, 1)) if size.ndim == 4 else size
    if size.ndim != 2 or not all(side % 2 for side in size.shape):
        raise InputError(
            f'A kernel of shape {tuple(kernel.shape)}: give (kh, kw) or (out, in, kh, '
            'kw) with odd kh and kw.'
        )
    padding = tuple(side // 2 for side in size.shape)
    size = size[None, None]
    sums = F.conv2d(size.new_ones(1, 1, *grid), size, padding=padding)
    return F.conv_transpose2d(1 / sums, size, padding=padding)[0, 0]


class Presence(NamedTuple):
    """Presence of the tokens that enter a layer, or a chain of layers.

    Attributes:
        presence: Presence (B, P + N), special tokens first; sums to ``outputs``.
        output_row: Share of each of these tokens in the network's output (B, P + N):
            the class token's row, or the mean over the image tokens; sums to one.
        outputs: Number of output tokens.
        grid: Rows and columns of the input image tokens.
        prefix: Number P of input special tokens.
    """

    presence: Tensor
    output_row: Tensor
    outputs: int
    grid: Pair
    prefix: int

    def mean_one(self) -> Tensor:
        """Return the presence scaled to a mean of one (B, P + N)."""
        return self.presence * (self.presence.shape[-1] / self.outputs)

    def maps(self) -> Tensor:
        """Return the scaled presence of the image tokens (B, h, w)."""
        return self.mean_one()[:, self.prefix :].unflatten(1, self.grid)


def layer_presence(
    model: nn.Module, images: Tensor, chunk: int = CHUNK
) -> list[Presence]:
    """Compute the presence of tokens in each attention by itself, on its own grid.

    Residual connections are left out: the weights are those of the attention, averaged
    over heads (for DHVT including the head tokens that are merged into the class
    token). In class attention the image tokens do not change.

    Args:
        model: Backbone or classifier that can be traced, in eval mode.
        images: Normalised (B, 3, H, W).
        chunk: Tokens that one forward pass traces; more need more memory.

    Returns:
        The presence for each attention.
    """
    return _collect(model, images, chunk, alone=True, residual=False)


def accumulated_presence(
    model: nn.Module, images: Tensor, chunk: int = CHUNK, **options: Any
) -> list[Presence]:
    """Compute the presence of the initial tokens after each attention.

    Args:
        model: Backbone or classifier that can be traced, in eval mode.
        images: Normalised (B, 3, H, W).
        chunk: Tokens that one forward pass traces; more need more memory.
        **options: ``layers``, ``residual`` and ``head_token_rule`` of the tracer; those
            of TL-Align by default.

    Returns:
        The presence after each attention, of the inputs of the first attention.
    """
    return _collect(model, images, chunk, alone=False, **options)


def summarise(values: Tensor) -> dict[str, float]:
    """Return statistics of a scaled presence, which show how far it is from uniform.

    Args:
        values: Output of :meth:`Presence.mean_one`, of any shape.

    Returns:
        ``min``, ``max``, ``std`` (sample standard deviation), and the fractions of
        tokens ``below_half`` (presence 0.5) and ``above_two``.
    """
    values = values.double().flatten()
    figures = dict(
        min=values.min(),
        max=values.max(),
        std=values.std(),
        below_half=(values < 0.5).double().mean(),
        above_two=(values > 2).double().mean(),
    )
    return {name: value.item() for name, value in figures.items()}


class IdentityTracer(StepTracer):
    """Tracer of some columns of the identity, which stores only sums and output rows.

    Args:
        backbone: Backbone after ``attach``.
        images: (B, 3, H, W).
        first: Index of the first token that is traced.
        chunk: Number of tokens that are traced.
        alone: Whether to restart from the identity before each attention.
        output: Tokens of the output row: ``'class'`` or ``'mean'``.
        **options: Options of the tracer.

    Attributes:
        steps: A :class:`Presence` of the traced tokens for each attention.
        inputs: Number of input tokens for each attention.
    """

    def __init__(
        self,
        backbone: nn.Module,
        images: Tensor,
        first: int,
        chunk: int,
        alone: bool,
        output: str,
        **options: Any,
    ):
        spec = backbone_spec(backbone)
        self.first, self.chunk, self.alone = first, chunk, alone
        self.output = output
        self.steps: list[Presence] = []
        self.inputs: list[int] = []
        grid, prefix = token_grid(backbone, images.shape[-2:]), spec.prefix(backbone)
        start = self._identity(grid, prefix, images)
        count = backbone.trace_context.attentions
        super().__init__(start, grid, prefix, count, **options)

    def before_attention(self) -> None:
        """Restart from the identity of the current tokens."""
        if self.alone:
            self.share = self._identity(self.grid, self.prefix, self.share)

    def _identity(self, grid: Pair, prefix: int, like: Tensor) -> Tensor:
        tokens = prefix + grid[0] * grid[1]
        self._start = (grid, prefix, tokens)
        columns = max(1, min(self.chunk, tokens - self.first))
        own = torch.arange(self.first, self.first + columns, device=like.device)
        every = torch.arange(tokens, device=like.device)
        share = (every[:, None] == own).float()
        return share.expand(len(like), -1, -1)

    def _record(self, share: Tensor) -> None:
        super()._record(share)
        self.history.clear()
        own_token = self.output == 'class' and self.prefix
        row = share[:, 0] if own_token else share[:, self.prefix :].mean(dim=1)
        grid, prefix, tokens = self._start
        step = Presence(share.sum(dim=1), row, share.shape[1], grid, prefix)
        self.steps.append(step)
        self.inputs.append(tokens)


def _collect(
    model: nn.Module, images: Tensor, chunk: int, **options: Any
) -> list[Presence]:
    """Run forward passes until all tokens are traced, and join their columns."""
    if chunk < 1:
        raise InputError(
            f'chunk={chunk}: give the number of tokens followed at a time, 1 or more.'
        )
    backbone, output = backbone_of(model), output_of(model)
    parts: list[IdentityTracer] = []
    while not parts or len(parts) * chunk < max(parts[0].inputs):
        first = len(parts) * chunk
        parts.append(
            read_forward(
                backbone,
                images,
                lambda context, first=first: IdentityTracer(
                    backbone, images, first, chunk, output=output, **options
                ),
            )
        )
    joined = []
    for layer, step in enumerate(parts[0].steps):
        used = [part.steps[layer] for part in parts if part.first < part.inputs[layer]]
        joined.append(
            step._replace(
                presence=torch.cat([one.presence for one in used], dim=1),
                output_row=torch.cat([one.output_row for one in used], dim=1),
            )
        )
    return joined
