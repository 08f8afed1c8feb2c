"""From a mixed batch to the shares that arrive, and to pictures of the way."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..mixing import Mix
from . import rules
from .taps import attach, family_of, watch
from .tracer import ClassRows, Tracer


def token_grid(backbone: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    """Token rows and columns for images of ``size`` (height, width) pixels."""
    patch = family_of(backbone).patch(backbone)
    return math.ceil(size[0] / patch[0]), math.ceil(size[1] / patch[1])


def start_share(backbone: nn.Module, mix: Mix) -> Tensor:
    """Where a mixed batch starts (B, P + N, 1): patches at their own share,
    special tokens at the area share (TL-Align, ICCV 2023, §3.2)."""
    family = family_of(backbone)
    grid = token_grid(backbone, mix.images.shape[-2:])
    share = mix.token_share(grid, family.patch(backbone))
    return rules.add_prefix(share, mix.area()[:, None], family.prefix(backbone))


def share_tracer(
    backbone: nn.Module,
    mix: Mix,
    layers: Sequence[int] | None = None,
    residual: bool = True,
) -> Tracer:
    """A tracer for one forward of an attached backbone on a mixed batch."""
    return Tracer(
        start_share(backbone, mix),
        token_grid(backbone, mix.images.shape[-2:]),
        family_of(backbone).prefix(backbone),
        backbone.trace_wire.attentions,
        layers=layers,
        residual=residual,
    )


def row_reader(backbone: nn.Module, mix: Mix) -> ClassRows:
    """A reader of the special tokens' rows of an attached backbone."""
    family = family_of(backbone)
    grid = token_grid(backbone, mix.images.shape[-2:])
    return ClassRows(
        mix.token_mask(grid, family.patch(backbone)),
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
        **options: ``layers`` and ``residual`` of :class:`Tracer`.

    Returns:
        The tracer after the forward: ``history`` holds the share (B, P + N, 1)
        after every attention, ``grids`` the token grid of each, ``prefix`` the
        number P of special tokens that lead each entry.
    """
    if getattr(backbone, 'trace_wire', None) is None:
        backbone = copy.deepcopy(backbone)
        attach(backbone)
    with watch(backbone, share_tracer(backbone, mix, **options)) as tracer:
        backbone(mix.images)
    return tracer
