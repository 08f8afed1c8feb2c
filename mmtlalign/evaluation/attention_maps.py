"""Attention maps of a network, for pictures, masks, boxes and measurements.

Shapes: ``B`` batch, ``G`` windows of an image (1 without), ``H`` heads, ``P`` special
tokens, ``N`` image tokens, ``h, w`` their grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.evaluation.presence import accumulated_presence
from mmtlalign.evaluation.readers import backbone_of, read_forward
from mmtlalign.tracing import propagate
from mmtlalign.tracing.events import Reader, flatten_batch
from mmtlalign.tracing.options import layer_indices
from mmtlalign.tracing.propagate import NO_PADDING, Padding, Pair
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import token_grid

MAPS = ('cls', 'received', 'rollout')


def attention_map(
    model: nn.Module, images: Tensor, which: str = 'auto', layer: int = -1
) -> Tensor:
    """Return maps of the attention to the image tokens (B, H, h, w), not negative.

    Args:
        model: Backbone or classifier that can be traced, in eval mode.
        images: Normalised (B, 3, height, width).
        which: ``'cls'``: the class token's row, for each head. ``'received'``: the
            mean over the queries, for networks without class token (a rule of ours).
            ``'rollout'``: the share of each token of the first grid in the output, by
            the product of ``(I + A) / 2`` over all layers, as a single head; this is
            attention rollout, and the weights by which TL-Align averages the box.
            ``'auto'``: ``'cls'`` if there is a class token, else ``'received'``.
        layer: Index of the attention, negative from the end; ``'rollout'`` uses all.

    Raises:
        UnsupportedError: The backbone cannot be traced.
        InputError: The map or layer does not exist, there is no class token, or the
            keys of the layer are pooled.
    """
    if which not in ('auto', *MAPS):
        raise InputError(
            f"which={which!r}: choose 'auto', {', '.join(map(repr, MAPS))}."
        )
    if which == 'rollout':
        last = accumulated_presence(model, images)[-1]
        return last.output_row[:, last.prefix :].unflatten(1, last.grid)[:, None]
    (attention,) = read_attention(model, images, [layer])
    if which == 'auto':
        return attention.maps()
    return attention.class_map() if which == 'cls' else attention.column_map()


@dataclass(frozen=True)
class LayerAttention:
    """The weights of one attention, and the positions of its tokens.

    Attributes:
        weights: Softmax before dropout (B * G, H, Nq, Nk), float32. Tokens are P
            special tokens, N image tokens, and appended ones; in windows they are those
            of the window.
        grid: Rows and columns of the N image tokens.
        prefix: Number of special tokens P.
        appended: Number of appended tokens, such as DHVT's head tokens.
        windows: Arguments of :func:`propagate.window_places`; None without windows.
    """

    weights: Tensor
    grid: Pair
    prefix: int
    appended: int = 0
    windows: tuple | None = None

    def maps(self) -> Tensor:
        """Return the class token's map, or the column map without a class token."""
        return self.class_map() if self.prefix else self.column_map()

    def class_map(self, token: int = 0) -> Tensor:
        """Return the attention of a special token on the image tokens (B, H, h, w).

        Args:
            token: Index of the token: 0 is the class, 1 the distillation token.

        Raises:
            InputError: The token does not exist, or the keys are pooled.
        """
        if not 0 <= token < self.prefix:
            raise InputError(
                f'This attention has {self.prefix} special tokens, so there is no '
                f"special token {token}: use the map 'received' or 'rollout', which "
                'need no class token.'
            )
        return self._image_keys(self.weights[:, :, token]).unflatten(-1, self.grid)

    def column_map(self) -> Tensor:
        """Return the mean over the queries of image tokens (B, H, h, w).

        In windows it is the mean over those of the window; padding is excluded from
        queries and keys.

        Raises:
            InputError: The keys are pooled, or only special tokens are queries.
        """
        if self.windows is None:
            last = self.prefix + self.grid[0] * self.grid[1]
            queries = self.weights[:, :, self.prefix : last]
            if not queries.shape[2]:
                raise InputError(
                    'In this attention only the class token is a query, so there are '
                    "no columns to average over image tokens: use the map 'cls'."
                )
            return self._image_keys(queries.mean(dim=2)).unflatten(-1, self.grid)
        places, weights = self._windows()
        real = (places >= 0).to(weights)
        weights = weights * real[:, None, None]
        # Padding may attend to padding alone, so that nothing of its row is left.
        total = weights.sum(dim=-1, keepdim=True)
        weights = weights / total.where(total > 0, 1)
        columns = (weights * real[:, None, :, None]).sum(dim=-2) / places.shape[1]
        return self._from_places(columns.transpose(1, 2), places, 0.0)

    def query_map(self, row: int, column: int) -> Tensor:
        """Return the attention of one image token (B, H, h, w).

        Args:
            row, column: Its position on the grid.

        Returns:
            The map, NaN where the token cannot attend, outside its window.

        Raises:
            InputError: The position does not exist, or the keys are pooled.
        """
        height, width = self.grid
        if not (0 <= row < height and 0 <= column < width):
            raise InputError(
                f'Query ({row}, {column}): the grid has {height} x {width} tokens, '
                'numbered from 0.'
            )
        at = row * width + column
        if self.windows is None:
            token = self.weights[:, :, self.prefix + at]
            return self._image_keys(token).unflatten(-1, self.grid)
        places, weights = self._windows()
        window, slot = (places == at).nonzero()[0].tolist()
        inside = weights[:, window, :, slot][:, :, None]
        return self._from_places(inside, places[window : window + 1], torch.nan)

    def _image_keys(self, rows: Tensor) -> Tensor:
        """Cut rows (..., Nk) to the image tokens (..., N)."""
        count, keys = self.grid[0] * self.grid[1], rows.shape[-1]
        if self.windows is not None or keys != self.prefix + count + self.appended:
            raise InputError(
                f'This attention has {keys} keys for {count} tokens of the image: the '
                'keys are pooled, so its weights have no position in the image. Use '
                "the map 'rollout', or a layer that attends to all tokens."
            )
        return rows[..., self.prefix : self.prefix + count]

    def _windows(self) -> tuple[Tensor, Tensor]:
        """Return indices (G, T), -1 for padding, and weights (B, G, H, T, T)."""
        assert self.windows is not None
        places = propagate.window_places(*self.windows).to(self.weights.device).long()
        return places, self.weights.unflatten(0, (-1, len(places)))

    def _from_places(self, values: Tensor, places: Tensor, rest: float) -> Tensor:
        """Scatter values (B, H, G, T) to their positions on the grid (B, H, h, w)."""
        real = places >= 0
        count = self.grid[0] * self.grid[1]
        maps = values.new_full((*values.shape[:2], count), rest)
        maps[..., places[real]] = values[..., real]
        return maps.unflatten(-1, self.grid)


def read_attention(
    model: nn.Module, images: Tensor, layers: Sequence[int] | None = None
) -> list[LayerAttention]:
    """Run a backbone and return the weights of some attentions.

    It stores whole attention matrices, which is too much memory for training.

    Args:
        model: Backbone or classifier that can be traced, in eval mode.
        images: Normalised (B, 3, height, width).
        layers: Indices of the attentions, negative ones from the end. Defaults to None:
            all.

    Returns:
        The attentions, in the order of the network.

    Raises:
        UnsupportedError: The backbone cannot be traced.
        InputError: A layer does not exist.
    """
    backbone = backbone_of(model)
    reader = read_forward(
        backbone,
        images,
        lambda context: AttentionKeeper(
            token_grid(backbone, images.shape[-2:]),
            backbone_spec(backbone).prefix(backbone),
            layer_indices(layers, context.attentions),
        ),
    )
    return reader.kept


def last_attention(model: nn.Module, images: Tensor) -> LayerAttention:
    """Run a backbone and return its last attention; see :func:`read_attention`."""
    return read_attention(model, images, [-1])[0]


class AttentionKeeper(Reader):
    """Reader that keeps the weights of some attentions.

    Args:
        grid: Token grid of the image.
        prefix: Number of special tokens.
        layers: Indices of the attentions; None for all.

    Attributes:
        kept: The attentions that were read, in the order of the network.
    """

    def __init__(self, grid: Pair, prefix: int, layers: frozenset | None = None):
        super().__init__(grid, prefix)
        self.layers = layers
        self.kept: list[LayerAttention] = []

    def attend(
        self, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
    ) -> None:
        """Compute and keep the weights of queries and keys (B, H, N, D)."""
        if self._counts():
            logits = query.float() @ key.float().mT * scale
            if mask is not None and mask.dtype == torch.bool:
                logits = logits.masked_fill(~mask, -torch.inf)
            elif mask is not None:
                logits = logits + mask.float()
            self._keep(logits.softmax(dim=-1))
        self._end()

    def weigh(self, weights: Tensor) -> None:
        """Keep weights (..., H, Nq, Nk)."""
        if self._counts():
            self._keep(flatten_batch(weights.detach()).float())
        self._end()

    def merge_tokens(
        self, kernel: Pair, stride: Pair, padding: Padding = NO_PADDING
    ) -> None:
        """Update the token grid."""
        tokens = torch.empty(1, self.grid[0] * self.grid[1])
        _, self.grid = propagate.merge_nearest(
            tokens, self.grid, kernel, stride, padding
        )

    def _counts(self) -> bool:
        return self.layers is None or self.seen in self.layers

    def _keep(self, weights: Tensor) -> None:
        self.kept.append(
            LayerAttention(weights, self.grid, self.prefix, self.appended, self.windows)
        )

    def _end(self) -> None:
        self.seen += 1
        self.appended = 0
