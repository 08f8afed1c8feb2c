"""From a mixed batch to the shares that arrive, and to pictures of the way."""

import copy
import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..mixing import Mix
from . import geometry
from .row_readers import ClassRows, TokenColumns
from .taps import attach, family_of, watch
from .tracer import Tracer


def token_grid(backbone: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    """Token rows and columns for images of ``size`` (height, width) pixels."""
    family = family_of(backbone)
    if family.grid is not None:
        return family.grid(backbone, size)
    patch = family.patch(backbone)
    return math.ceil(size[0] / patch[0]), math.ceil(size[1] / patch[1])


def start_share(backbone: nn.Module, mix: Mix) -> Tensor:
    """Where a mixed batch starts (B, P + N, 1): patches at their own share,
    special tokens at the area share (TL-Align, ICCV 2023, §3.2)."""
    family = family_of(backbone)
    grid = token_grid(backbone, mix.images.shape[-2:])
    patch = family.patch(backbone)
    share = _inside(mix, grid, patch).token_share(grid, patch)
    return geometry.add_prefix(share, mix.area()[:, None], family.prefix(backbone))


def _inside(mix: Mix, grid: tuple[int, int], patch: tuple[int, int]) -> Mix:
    """The mix without the pixels that a backbone leaves out of its tokens."""
    height, width = grid[0] * patch[0], grid[1] * patch[1]
    return dataclasses.replace(mix, mask=mix.mask[..., :height, :width])


def share_tracer(backbone: nn.Module, mix: Mix, **options) -> Tracer:
    """A tracer for one forward of an attached backbone on a mixed batch.

    ``options`` are ``layers``, ``residual`` and ``merge`` of :class:`Tracer`.
    """
    return Tracer(
        start_share(backbone, mix),
        token_grid(backbone, mix.images.shape[-2:]),
        family_of(backbone).prefix(backbone),
        backbone.trace_wire.attentions,
        **options,
    )


def label_tracer(
    backbone: nn.Module, labels: Tensor, grid: tuple[int, int], **options
) -> Tracer:
    """A tracer that starts every image token with columns of its own.

    Args:
        backbone: Attached.
        labels: (B, N, S); special tokens start at the mean of the image's.
        grid: Token rows and columns.
        **options: As of :func:`share_tracer`.
    """
    prefix = family_of(backbone).prefix(backbone)
    start = geometry.add_prefix(labels, labels.mean(dim=1), prefix)
    return Tracer(start, grid, prefix, backbone.trace_wire.attentions, **options)


def look_reader(
    backbone: nn.Module, mix: Mix, kind: type[ClassRows] | type[TokenColumns]
) -> ClassRows | TokenColumns:
    """A reader of where the last attention of an attached backbone looks."""
    family = family_of(backbone)
    grid = token_grid(backbone, mix.images.shape[-2:])
    patch = family.patch(backbone)
    return kind(
        _inside(mix, grid, patch).token_mask(grid, patch),
        grid,
        family.prefix(backbone),
        backbone.trace_wire.attentions,
    )


@torch.no_grad()
def trace(backbone: nn.Module, mix: Mix, **options) -> Tracer:
    """Trace one forward pass, for pictures and analysis.

    Args:
        backbone: Tapped or not; one that is not is left as it is, a copy of it
            is tapped.
        mix: The mixed batch. Its ``images`` are what the backbone is given.
        **options: As of :func:`share_tracer`.

    Returns:
        The tracer after the forward: ``history`` holds the share (B, P + N, 1)
        after every attention, ``grids`` the token grid of each, ``prefixes``
        the number P of special tokens that lead each.
    """
    if getattr(backbone, 'trace_wire', None) is None:
        backbone = copy.deepcopy(backbone)
        attach(backbone)
    with watch(backbone, share_tracer(backbone, mix, **options)) as tracer:
        backbone(mix.images)
    return tracer
