"""Output of a guide, and helpers to search its saliency maps.

A guide is a function that computes, for instance, the saliency of the images before
they are mixed. Shapes: ``B`` batch, ``K`` classes, ``h, w`` cells of a map.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.errors import InputError


class GuideOutput(NamedTuple):
    """Output of a guide for a batch that is not mixed yet.

    Attributes:
        saliency: Importance of each cell of each image (B, h, w), float32, at least 0.
        scores: Class scores (B, K) without gradient, or None.
        pictures: The images without normalisation (B, 3, H, W), 0...1, or None.
    """

    saliency: Tensor
    scores: Tensor | None = None
    pictures: Tensor | None = None


def missing_guide(augment: Any) -> str:
    """Return the error message for an augment (a ``BatchMix``) without its guide."""
    needs = ' and '.join(sorted(augment.needs))
    return (
        f'{type(augment).__name__} needs the {needs} of the un-mixed images: use '
        'mmtlalign.MixClassifier and give its train_cfg a guide, such as '
        f'{example_guide(augment)}; in plain PyTorch pass to mix a '
        'guide=function(images, labels) that returns a GuideOutput.'
    )


def example_guide(augment: Any) -> str:
    """Return the config text of a guide that gives what an augment needs."""
    any_guide = 'InputGradient' if 'pictures' in augment.needs else 'OwnAttention'
    return f"guide=dict(type='mmtlalign.{augment.usual_guide or any_guide}')"


def check_grid(given: tuple[int, int], asked: tuple[int, int], augment: str) -> None:
    """Check that a guide's map can be resized to the grid of an augment.

    Args:
        given: Rows and columns of the map.
        asked: Rows and columns of the augment's grid.
        augment: Name of the augment, for the message.

    Raises:
        InputError: Neither grid divides the other.
    """
    for have, need in zip(given, asked):
        if have % need and need % have:
            raise InputError(
                f'The guide gives a map of {given[0]}x{given[1]} cells, and {augment} '
                f'draws its mask on {asked[0]}x{asked[1]}: one must divide the other; '
                "set the augment's patch_size or cells to fit, or None to use the "
                "guide's grid."
            )


def fit_map(saliency: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize maps (B, h, w) to a grid by averaging or repeating whole cells.

    Args:
        saliency: Maps (B, h, w). On each axis one of the two sizes divides the other.
        grid: Rows and columns of the result.
    """
    if saliency.shape[-2:] == grid:
        return saliency
    for axis, need in ((-2, grid[0]), (-1, grid[1])):
        have = saliency.shape[axis]
        if have % need == 0:
            saliency = saliency.unflatten(axis, (need, have // need)).mean(dim=axis)
        else:
            saliency = saliency.repeat_interleave(need // have, dim=axis)
    return saliency


def window_sums(saliency: Tensor, side: int) -> Tensor:
    """Return the sums (B, h - side + 1, w - side + 1) of all square windows."""
    area = float(side * side)
    return F.avg_pool2d(saliency[:, None], side, stride=1)[:, 0] * area


def extreme_windows(saliency: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the square windows of the smallest and largest sum; the first of equals.

    Args:
        saliency: (B, h, w).
        side: Side of a window in cells.

    Returns:
        Two tensors (B, 2), int64: top row and left column of the lowest and of the
        highest window.
    """
    sums = window_sums(saliency, side)
    wide = sums.shape[-1]
    flat = sums.flatten(1)
    # argmin and argmax may return any of equal values.
    lowest = _first(flat == flat.amin(1, keepdim=True))
    highest = _first(flat == flat.amax(1, keepdim=True))
    lowest, highest = (
        torch.stack([at // wide, at % wide], dim=1) for at in (lowest, highest)
    )
    return lowest, highest


def strongest_place(saliency: Tensor) -> Tensor:
    """Return row and column (B, 2), int64, of the strongest cell; the first of equals.

    Args:
        saliency: (B, h, w).
    """
    flat = saliency.flatten(1)
    at = _first(flat == flat.amax(1, keepdim=True))
    wide = saliency.shape[-1]
    return torch.stack([at // wide, at % wide], dim=1)


def top_cells(saliency: Tensor, count: int) -> Tensor:
    """Return a mask (B, h, w) of the ``count`` strongest cells; the first of equals."""
    order = saliency.flatten(1).argsort(dim=1, descending=True, stable=True)
    mask = torch.zeros_like(saliency).flatten(1)
    mask.scatter_(1, order[:, :count], 1.0)
    return mask.view_as(saliency)


def _first(found: Tensor) -> Tensor:
    """Return the index of the first True in each row (B, n)."""
    places = torch.arange(found.shape[1], device=found.device)
    return torch.where(found, places, found.shape[1]).amin(dim=1)
