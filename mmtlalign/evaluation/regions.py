"""Measures of EsViT's analysis: corresponding regions, attention of single queries.

EsViT (arXiv 2106.09785), §4.4; settings as in the official analysis code. Shapes: ``T``
regions of a view, ``P`` channels, ``N`` tokens of an attention, ``h, w`` their grid.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.evaluation.occlusion import mass_patches


class Correspondence(NamedTuple):
    """How well the most similar pairs of regions correspond."""

    accuracy: float  # share of pairs at the same place
    distance: float  # from the true place, the mean in pixels
    similarities: Tensor  # of all pairs, falling (T,)


def nearest_regions(regions: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Find for each region the most similar one of another view.

    Args:
        regions: Features (T, P).
        others: Features of the other view (T', P).

    Returns:
        Cosine similarities (T,) and indices of the other regions (T,).
    """
    cosines = F.normalize(regions, dim=-1) @ F.normalize(others, dim=-1).mT
    return cosines.max(dim=-1)


class Matches(NamedTuple):
    """The most similar region of another image for each region (T,)."""

    nearest: Tensor  # numbers of the other image's regions
    similarity: Tensor  # cosine
    order: Tensor  # of the regions, by falling similarity
    mutual: Tensor  # bool: each is the other's nearest

    def best(self, pairs: int = 10, mutual: bool = False) -> Tensor:
        """Return the regions (pairs,) of the most similar pairs, or fewer.

        Args:
            pairs: Number of pairs.
            mutual: Use only pairs in which each is the other's nearest.
        """
        order = self.order[self.mutual[self.order]] if mutual else self.order
        return order[:pairs]


def match_images(regions: Tensor, others: Tensor) -> Matches:
    """Match the regions of an image to those of a different one.

    Args:
        regions: Features (T, P).
        others: Features of the other image (T', P).
    """
    similarity, nearest = nearest_regions(regions, others)
    _, back = nearest_regions(others, regions)
    order = similarity.argsort(descending=True, stable=True)
    mutual = back[nearest] == torch.arange(len(regions), device=back.device)
    return Matches(nearest, similarity, order, mutual)


def query_masks(rows: Tensor, mass: float = 0.6) -> Tensor:
    """Return masks (..., h, w) of the tokens that a query attends to, for each head.

    Args:
        rows: Attention of the query on the tokens (..., h, w), such as
            ``LayerAttention.query_map``; NaN outside its window.
        mass: Share of the attention inside the mask.
    """
    maps = rows.nan_to_num(0.0)
    return mass_patches(maps.flatten(0, -3), mass).view(rows.shape)


def sort_entropies(bits: Tensor) -> tuple[Tensor, Tensor]:
    """Return entropies of heads (heads,) in falling order, and the heads' indices."""
    return bits.sort(descending=True, stable=True)


def mirrored(side: int) -> Tensor:
    """Return the index of each position of a grid after a left-right flip, (T,)."""
    return torch.arange(side * side).view(side, side).flip(1).flatten()


def flip_correspondence(
    regions: Tensor, flipped: Tensor, side: int, cell: int, pairs: int = 10
) -> Correspondence:
    """Match the regions of an image to those of its mirror image.

    Each region is matched to the most similar one; the most similar pairs are
    evaluated.

    Args:
        regions: Features of the image (side * side, P), row by row.
        flipped: Features of a view that is flipped left to right (side * side, P).
        side: Regions in a row.
        cell: Width of a region in pixels.
        pairs: Number of pairs that are evaluated.
    """
    similarity, partner = nearest_regions(regions, flipped)
    order = similarity.argsort(descending=True)
    place = torch.cartesian_prod(torch.arange(side), torch.arange(side)).to(order)
    true = place[mirrored(side).to(order)]
    apart = cell * (place[partner] - true).float().norm(dim=1)[order[:pairs]]
    return Correspondence(
        (apart == 0).float().mean().item(), apart.mean().item(), similarity[order]
    )


def attention_entropy(attention: Tensor) -> Tensor:
    """Return the entropy of each head in bits, averaged over queries.

    0 bits is attention to a single token, log2 N uniform attention. The term of a zero
    weight is 0, where the official code gives NaN.

    Args:
        attention: Weights of each query (..., heads, N, N), rows summing to 1.

    Returns:
        Entropies (..., heads).
    """
    bits = -torch.special.xlogy(attention, attention) / torch.log(
        attention.new_tensor(2.0)
    )
    return bits.sum(dim=-1).mean(dim=-1)
