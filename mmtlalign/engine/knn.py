"""Weighted k-nearest-neighbour classification of features.

Wu et al., "Unsupervised feature learning via non-parametric instance discrimination"
(CVPR 2018), §3.4, as DINO and EsViT evaluate with it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmtlalign.engine.errors import InputError

__all__ = ['check_neighbours', 'top_classes']

# Similarities that are in memory at a time: 128 MiB in float32.
CHUNK = 2**25


def check_neighbours(ks: Sequence[int], size: int) -> None:
    """Make sure that a bank of ``size`` images has as many neighbours as are asked.

    Raises:
        InputError: It has fewer than the largest of ``ks``.
    """
    if max(ks) > size:
        raise InputError(
            f'k-NN with k={max(ks)} needs a bank of as many images, but it has '
            f'{size}: set smaller ks, or a larger bank.'
        )


@torch.no_grad()
def top_classes(
    queries: Tensor,
    bank: Tensor,
    labels: Tensor,
    ks: Sequence[int],
    num_classes: int,
    temperature: float = 0.07,
    best: int = 5,
) -> dict[int, Tensor]:
    """Classes that the nearest neighbours vote for.

    A neighbour votes with ``exp(cosine / temperature)``. Memory does not grow with
    the number of queries, apart from what is returned.

    Args:
        queries: Features to classify (Q, P), of any length.
        bank: Features of known classes (M, P), of any length.
        labels: Their classes (M,), int64.
        ks: Numbers of neighbours.
        num_classes: C.
        temperature: Of the votes.
        best: How many classes to return, at most C.

    Returns:
        dict: For each k the classes of most votes, best first (Q, best).

    Raises:
        InputError: The bank has fewer than k features.
    """
    check_neighbours(ks, len(bank))
    most = max(ks)
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    found = {k: [] for k in ks}
    for chunk in queries.split(max(1, CHUNK // len(bank))):
        nearest = (chunk @ bank.T).topk(most, dim=1)
        weights, classes = (nearest.values / temperature).exp(), labels[nearest.indices]
        for k in ks:
            votes = chunk.new_zeros(len(chunk), num_classes)
            votes.scatter_add_(1, classes[:, :k], weights[:, :k])
            found[k].append(votes.topk(min(best, num_classes), dim=1).indices)
    return {k: torch.cat(parts) for k, parts in found.items()}
