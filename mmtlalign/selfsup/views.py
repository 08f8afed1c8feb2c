"""The order of views and regions in a batch, and which of them are compared.

Shapes: ``B`` images, ``V`` views of each, the first ``G`` global, ``T`` tokens of a
view. Rows of views are view-major (view, image), rows of regions (view, image, token).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """What the student sees of a batch: runs of views of one size.

    Attributes:
        batch: B.
        counts: Views of each run; their sum is V.
        tokens: Tokens of a view, for each run.
        teacher: G, the number of views that the teacher sees: the first of all, and
            of the first run's size.
    """

    batch: int
    counts: tuple[int, ...]
    tokens: tuple[int, ...]
    teacher: int = 2

    @property
    def pairs(self) -> int:
        """Pairs of a teacher view and another view of the student."""
        return self.teacher * (sum(self.counts) - 1)

    def weights(self, device: torch.device) -> Tensor:
        """Share of each pair in the loss (V, G): equal; 0 for a view with itself."""
        own = torch.eye(sum(self.counts), self.teacher, device=device)
        return (1 - own) / self.pairs

    def split(self, regions: Tensor) -> list[Tensor]:
        """Rows of regions (R, C) as one (views, B, T, C) for each run."""
        sizes = [n * self.batch * t for n, t in zip(self.counts, self.tokens)]
        return [
            part.unflatten(0, (count, self.batch, tokens))
            for part, count, tokens in zip(
                regions.split(sizes), self.counts, self.tokens
            )
        ]


def view_targets(views: Views, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each row of the student's views: its targets' rows and weights.

    Returns:
        tuple: rows (V·B, G) int64 and weights (V·B, G), which sum to 1 over all.
    """
    image = torch.arange(views.batch, device=device).repeat(sum(views.counts))
    first = torch.arange(views.teacher, device=device) * views.batch
    weights = views.weights(device) / views.batch
    return image[:, None] + first, weights.repeat_interleave(views.batch, dim=0)


def mixed_view_targets(views: Views, mixing: Tensor) -> tuple[Tensor, Tensor]:
    """The same for views that are mixtures of images (official code only).

    Args:
        mixing: Share of image c in view v of image b (V, B, B).

    Returns:
        tuple: rows (V·B, G·B) int64 and weights (V·B, G·B).
    """
    pairs = views.weights(mixing.device) / views.batch
    weights = pairs[:, None, :, None] * mixing.transpose(1, 2)[:, :, None]
    weights = weights.flatten(2).flatten(0, 1)
    rows = torch.arange(views.teacher * views.batch, device=mixing.device)
    return rows.expand(len(weights), -1), weights


def region_targets(views: Views, matches: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of the student's regions: its targets' rows and weights.

    Every view counts alike, however many tokens it has.

    Args:
        matches: Token of each teacher view that a region goes to (R, G).

    Returns:
        tuple: rows (R, G) int64 and weights (R, G), which sum to 1 over all.
    """
    device, tokens = matches.device, views.tokens[0]
    image = torch.arange(views.batch, device=device)[:, None, None]
    start = (torch.arange(views.teacher, device=device) * views.batch + image) * tokens
    rows, weights = [], []
    shares = views.weights(device).split(views.counts)
    for match, share in zip(views.split(matches), shares):
        rows.append((match + start).flatten(0, 2))
        each = share[:, None, None] / (views.batch * match.shape[2])
        weights.append(each.expand_as(match).flatten(0, 2))
    return torch.cat(rows), torch.cat(weights)
