"""Which regions of an image and of its grey mirror image a backbone takes for one.

EsViT (arXiv 2106.09785), §4.4.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmtlalign.evaluation.regions import flip_correspondence, mirrored, nearest_regions
from mmtlalign.methods.esvit.crops import run_backbone, views_and_regions


@dataclass(frozen=True)
class RegionPairs:
    """The pairs of regions that are most alike.

    Attributes:
        ends (np.ndarray): (n, 2, 2), for each pair the centre (x, y) of the region in
            the image and in the mirror image, in pixels.
        right (np.ndarray): (n,) bool, whether both show the same place.
        accuracy (float): Share of those.
        distance (float): From the true place, the mean in pixels.
    """

    ends: np.ndarray
    right: np.ndarray
    accuracy: float
    distance: float


def pairs_of(regions: Tensor, flipped: Tensor, size: int, pairs: int) -> RegionPairs:
    """The most similar pairs of regions, each the best match of its first.

    Args:
        regions: Features of a square image (T, P), row by row.
        flipped: Of its mirror image (T, P).
        size: Pixels of a side.
        pairs: How many.

    Raises:
        ValueError: The regions are no square grid.
    """
    side = math.isqrt(len(regions))
    if side == 0 or side**2 != len(regions):
        raise ValueError(
            f'{len(regions)} regions are no square grid: regions are the map or the '
            'tokens of a square image. Of a ViT set out_type=raw '
            '(--cfg-options model.backbone.out_type=raw).'
        )
    cell = size / side
    similarity, partner = nearest_regions(regions, flipped)
    first = similarity.argsort(descending=True)[:pairs].cpu()
    second = partner.cpu()[first]
    places = torch.stack([first, second], dim=1)
    rows = torch.div(places, side, rounding_mode='floor')
    ends = cell * (torch.stack([places % side, rows], dim=-1) + 0.5)
    judged = flip_correspondence(regions, flipped, side, cell, pairs)
    return RegionPairs(
        ends.numpy(),
        (mirrored(side)[first] == second).numpy(),
        judged.accuracy,
        judged.distance,
    )


@torch.no_grad()
def find_pairs(backbone: nn.Module, views: Tensor, pairs: int = 10) -> RegionPairs:
    """Run a backbone on an image and its mirror image (2, 3, s, s), normalised."""
    regions = views_and_regions(backbone, run_backbone(backbone, views))[1]
    return pairs_of(regions[0], regions[1], views.shape[-1], pairs)
