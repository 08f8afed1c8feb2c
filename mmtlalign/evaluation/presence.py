"""How much of every token is left in the outputs: contribution and presence.

TL-Align (ICCV 2023), §3.2. Of an operation with weights ``w`` from inputs to outputs,
``c(i -> j) = |w[j, i]| / sum_k |w[j, k]|`` is the contribution of input i to output j,
and ``p(i) = sum_j c(i -> j)`` its presence, which sums to the number of outputs. The
paper writes the two indices both ways round; with absolute values and rows as outputs
there is one reading. How it accumulates over layers is not in the paper: the chain of
``(I + A) / 2`` here is ours, the weights by which TL-Align itself moves labels.

Shapes: ``B`` batch, ``P`` special tokens, ``N`` image tokens, ``h, w`` token grid.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.evaluation.readers import StepTracer, backbone_of, read_forward
from mmtlalign.tracing.attach import bare_model
from mmtlalign.tracing.propagate import Pair
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import token_grid

# Columns of the identity that one forward pass carries.
CHUNK = 256


def contribution(weights: Tensor) -> Tensor:
    """Return the share of each input in each output.

    Args:
        weights: (..., outputs, inputs), signs allowed. A row of zeros has no shares
            and gives NaN.

    Returns:
        The same shape; rows sum to one.
    """
    size = weights.abs()
    return size / size.sum(dim=-1, keepdim=True)


def presence(weights: Tensor) -> Tensor:
    """Return the presence of each input (..., inputs), which sums to the outputs.

    Args:
        weights: (..., outputs, inputs); of attention the softmax, averaged over heads
            for the layer, or head by head.
    """
    return contribution(weights).sum(dim=-2)


def convolution_presence(kernel: Tensor, grid: Pair) -> Tensor:
    """Return the presence of each place under a 'same' convolution of stride 1.

    With zero padding and sides 2r + 1 it is exactly 1 where a place is 2r or more steps
    from the border. From r to 2r - 1 steps it is more than 1, as some of its readers
    have fewer other places to read; nearer it may be either.

    Args:
        kernel: (kh, kw), odd sides, or of a layer (out, in, kh, kw), whose absolute
            weights are summed over the channels (a rule of ours).
        grid: Rows and columns of the map.

    Returns:
        (h, w), of the kernel's type.

    Raises:
        InputError: A side is even, where 'same' has no middle.
    """
    size = kernel.detach().abs()
    size = size.sum(dim=(0, 1)) if size.ndim == 4 else size
    if size.ndim != 2 or not all(side % 2 for side in size.shape):
        raise InputError(
            f'A kernel of shape {tuple(kernel.shape)}: give (kh, kw) or (out, in, kh, '
            'kw) with odd sides.'
        )
    padding = tuple(side // 2 for side in size.shape)
    size = size[None, None]
    sums = F.conv2d(size.new_ones(1, 1, *grid), size, padding=padding)
    return F.conv_transpose2d(1 / sums, size, padding=padding)[0, 0]


class Presence(NamedTuple):
    """Presence of the tokens that enter a layer, or a chain of layers.

    Attributes:
        presence: (B, P + N), special tokens first; sums to ``outputs``.
        output_row: Share of each of these tokens in the output (B, P + N): the class
            token's row, or the mean over the image tokens; sums to one.
        outputs: Number of tokens that leave.
        grid: Rows and columns of the image tokens that enter.
        prefix: Number P of special tokens that enter.
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
    """Compute the presence in each attention alone, on the grid it has.

    Residual connections do not count: weights are the attention's, averaged over heads
    (of DHVT with the head tokens that return to the class token). In class attention
    the image tokens stay as they are.

    Args:
        model: Backbone or classifier, known to tracing, in eval mode.
        images: Normalised (B, 3, H, W).
        chunk: Tokens that one forward pass follows; more take more memory.

    Returns:
        One for each attention.
    """
    return _collect(model, images, chunk, alone=True, residual=False)


def accumulated_presence(
    model: nn.Module, images: Tensor, chunk: int = CHUNK, **options: Any
) -> list[Presence]:
    """Compute how present the first tokens are after each attention.

    Args:
        model, images, chunk: As of :func:`layer_presence`.
        **options: ``layers``, ``residual`` and ``head_token_rule`` of the tracer; those
            of TL-Align by default.

    Returns:
        One for each attention, all of the tokens that enter the first.
    """
    return _collect(model, images, chunk, alone=False, **options)


def summarise(values: Tensor) -> dict[str, float]:
    """Return figures of a scaled presence: how far it is from one everywhere.

    Args:
        values: :meth:`Presence.mean_one`, of any shape.

    Returns:
        ``min``, ``max``, ``std`` (sample standard deviation), and the shares of tokens
        ``below_half`` and ``above_two``.
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
    """Follow some columns of the identity; of each result keep sums and output alone.

    Args:
        backbone: Attached.
        images: (B, 3, H, W).
        first: Number of the first token that is followed.
        chunk: How many are.
        alone: Whether the identity starts anew before each attention.
        **options: Of the tracer.

    Attributes:
        steps: A :class:`Presence` of the tokens followed for each attention.
        inputs: How many tokens enter, of each.
    """

    def __init__(
        self,
        backbone: nn.Module,
        images: Tensor,
        first: int,
        chunk: int,
        alone: bool,
        output: str | None = None,
        **options: Any,
    ):
        spec = backbone_spec(backbone)
        self.first, self.chunk, self.alone = first, chunk, alone
        self.output = output or spec.output(backbone)
        self.steps: list[Presence] = []
        self.inputs: list[int] = []
        grid, prefix = token_grid(backbone, images.shape[-2:]), spec.prefix(backbone)
        start = self._identity(grid, prefix, images)
        count = backbone.trace_context.attentions
        super().__init__(start, grid, prefix, count, **options)

    def before_attention(self) -> None:
        """Start from the identity of the tokens that are there now."""
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
    """Run as many forward passes as the tokens need, and join their columns."""
    if chunk < 1:
        raise InputError(f'chunk={chunk}: follow one token at a time at least.')
    backbone = backbone_of(model)
    # A head of this package knows which tokens it scores.
    output = getattr(getattr(bare_model(model), 'head', None), 'output', None)
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
