"""View loss and region loss of EsViT (arXiv 2106.09785, §3); only the first is DINO.

Both compare every view of the student with every other view of the teacher, with equal
weights of all pairs. Both are a cross-entropy of student rows with selected teacher
rows, computed in chunks.

Shapes: ``B`` images, ``V`` views of each, the first ``G`` global, ``T`` tokens of a
view, ``D`` channels, ``K`` prototypes. ``R`` rows of the student, ``M`` rows of the
teacher, ``J`` targets per row. Rows of views are view-major (view, image), rows of
regions (view, image, token).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Numbers in a chunk of rows: 8 MiB in float32, about the size of CPU caches, which
# gives at most some 200 chunks in the largest recipe. On a GPU 256 MiB, as launching
# many small kernels would take longer than running them.
LOSS_CHUNK = 2**21
GPU_LOSS_CHUNK = 2**26
# Number of similarities in memory at once: 16 MiB in float32.
MATCH_CHUNK = 2**22


@dataclass(frozen=True)
class Views:
    """Order of the student's views in a batch, as runs of views of equal size.

    Attributes:
        batch: Number of images B.
        counts: Views of each run; their sum is V.
        tokens: Tokens of a view, for each run.
        global_views: Number G of views that the teacher sees too. They come first and
            have the size of the first run.
    """

    batch: int
    counts: tuple[int, ...]
    tokens: tuple[int, ...]
    global_views: int = 2

    @property
    def pairs(self) -> int:
        """Number of pairs of a teacher view and another view of the student."""
        return self.global_views * (sum(self.counts) - 1)

    def weights(self, device: torch.device) -> Tensor:
        """Return each pair's weight in the loss (V, G), 0 for identical views."""
        same = torch.eye(sum(self.counts), self.global_views, device=device)
        return (1 - same) / self.pairs

    def split(self, regions: Tensor) -> list[Tensor]:
        """Split rows of regions (R, C) into a tensor (views, B, T, C) for each run."""
        sizes = [n * self.batch * t for n, t in zip(self.counts, self.tokens)]
        return [
            part.unflatten(0, (count, self.batch, tokens))
            for part, count, tokens in zip(
                regions.split(sizes), self.counts, self.tokens
            )
        ]


def teacher_probabilities(logits: Tensor, center: Tensor, temperature: float) -> Tensor:
    """Centre and sharpen teacher outputs, to (M, K) float32 without gradient.

    DINO (arXiv 2104.14294), §3.1: centring prevents the collapse to a single prototype,
    the temperature that to a uniform output.

    Args:
        logits: Outputs of the teacher's head (M, K).
        center: Running mean of such logits (1, K).
        temperature: Temperature of the teacher.
    """
    return ((logits.detach().float() - center) / temperature).softmax(dim=-1)


def view_loss(
    student: Tensor,
    targets: Tensor,
    views: Views,
    temperature: float = 0.1,
    mixing: Tensor | None = None,
) -> Tensor:
    """Return the mean cross-entropy over pairs of views and images.

    Args:
        student: Logits (V·B, K).
        targets: Probabilities of the teacher (G·B, K).
        views: Order of the rows.
        temperature: Temperature of the student.
        mixing: Share of image c in view v of image b (V, B, B), if views are mixtures
            of images. Defaults to None: they are not.

    Returns:
        L_V, () float32.
    """
    if mixing is None:
        rows, weights = view_targets(views, student.device)
    else:
        rows, weights = mixed_view_targets(views, mixing)
    return cross_entropy_to_rows(student, targets, rows, weights, temperature)


def region_loss(
    student: Tensor,
    targets: Tensor,
    student_features: Tensor,
    teacher_features: Tensor,
    views: Views,
    temperature: float = 0.1,
) -> Tensor:
    """Return the mean cross-entropy of each region with its matched region.

    The mean is over the tokens of a view first, so that small and large views have
    equal weight.

    Args:
        student: Logits of regions (R, K).
        targets: Probabilities of the teacher's regions (G·B·T, K).
        student_features: Backbone features for the matching (R, D).
        teacher_features: The same of the teacher (G·B·T, D).
        views: Order of the rows.
        temperature: Temperature of the student.

    Returns:
        L_R, () float32.
    """
    matches = match_regions(student_features, teacher_features, views)
    rows, weights = region_targets(views, matches)
    return cross_entropy_to_rows(student, targets, rows, weights, temperature)


@torch.no_grad()
def match_regions(student: Tensor, teacher: Tensor, views: Views) -> Tensor:
    """Find for each region of the student the most similar one of each teacher view.

    The similarity is the cosine, within an image. It is computed in chunks, so that
    memory grows linearly with the number of tokens, and always in float32, as rounding
    under autocast could change the nearest region.

    Args:
        student: Backbone features of its regions (R, D), rows as in :class:`Views`.
        teacher: The same of the teacher's views (G·B·T, D).
        views: Order of the rows.

    Returns:
        Token indices (R, G), int64.
    """
    with torch.autocast(student.device.type, enabled=False):
        keys = F.normalize(teacher.float(), dim=-1)
        keys = keys.unflatten(0, (views.global_views, views.batch, -1))
        matches = []
        for part in views.split(student.float()):
            # Concatenate the tokens of all views of the run for each image.
            queries = F.normalize(part, dim=-1).transpose(0, 1).flatten(1, 2)
            best = torch.stack([_nearest(queries, key) for key in keys], dim=-1)
            best = best.unflatten(1, (part.shape[0], part.shape[2]))
            matches.append(best.transpose(0, 1).flatten(0, 2))
    return torch.cat(matches)


def _nearest(queries: Tensor, keys: Tensor) -> Tensor:
    """Return the index (B, Q) of the key (B, T, D) nearest to a query (B, Q, D)."""
    step = max(1, MATCH_CHUNK // (keys.shape[0] * keys.shape[1]))
    return torch.cat(
        [(part @ keys.mT).argmax(dim=-1) for part in queries.split(step, dim=1)], dim=1
    )


def view_targets(views: Views, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the targets of each row of the student's views.

    Returns:
        Their rows (V·B, G) int64 and weights (V·B, G), which sum to 1 over all.
    """
    image = torch.arange(views.batch, device=device).repeat(sum(views.counts))
    first = torch.arange(views.global_views, device=device) * views.batch
    weights = views.weights(device) / views.batch
    return image[:, None] + first, weights.repeat_interleave(views.batch, dim=0)


def mixed_view_targets(views: Views, mixing: Tensor) -> tuple[Tensor, Tensor]:
    """Return the targets of views that are mixtures of images.

    The official view loss supports this; the official region loss and all recipes do
    not use it. It exists for comparison with the official code; :class:`EsViT` does not
    mix.

    Args:
        views: Order of the rows.
        mixing: Share of image c in view v of image b (V, B, B).

    Returns:
        Their rows (V·B, G·B) int64 and weights (V·B, G·B), which sum to 1 over all.
    """
    pairs = views.weights(mixing.device) / views.batch
    weights = pairs[:, None, :, None] * mixing.transpose(1, 2)[:, :, None]
    weights = weights.flatten(2).flatten(0, 1)
    rows = torch.arange(views.global_views * views.batch, device=mixing.device)
    return rows.expand(len(weights), -1), weights


def region_targets(views: Views, matches: Tensor) -> tuple[Tensor, Tensor]:
    """Return the targets of each row of the student's regions.

    Every view has the same weight, whatever its number of tokens.

    Args:
        views: Order of the rows.
        matches: Token of each teacher view that a region is matched to (R, G).

    Returns:
        Their rows (R, G) int64 and weights (R, G), which sum to 1 over all.
    """
    device, tokens = matches.device, views.tokens[0]
    image = torch.arange(views.batch, device=device)[:, None, None]
    first = torch.arange(views.global_views, device=device) * views.batch
    first = (first + image) * tokens
    rows, weights = [], []
    shares = views.weights(device).split(views.counts)
    for match, share in zip(views.split(matches), shares):
        rows.append((match + first).flatten(0, 2))
        each = share[:, None, None] / (views.batch * match.shape[2])
        weights.append(each.expand_as(match).flatten(0, 2))
    return torch.cat(rows), torch.cat(weights)


def cross_entropy_to_rows(
    student: Tensor, targets: Tensor, rows: Tensor, weights: Tensor, temperature: float
) -> Tensor:
    """Return the weighted sum over r and j of ``CE(targets[rows[r, j]], student[r])``.

    The gradient is computed together with the loss, in chunks of rows, so that apart
    from inputs and gradient there is no tensor of R x K, and none of R x J x K. The
    logits of 5,440 regions, for 32 images at K = 65,536, take 1.4 GB per copy in
    float32, and plain autograd keeps several copies.

    Args:
        student: Logits (R, K).
        targets: Probabilities (M, K), without gradient.
        rows: Index of the target row (R, J), int64.
        weights: Weight of each target (R, J); 0 leaves it out.
        temperature: Temperature of the student.

    Returns:
        The sum, () float32.
    """
    return _CrossEntropyToRows.apply(student, targets, rows, weights, temperature)


class _CrossEntropyToRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        targets: Tensor,
        rows: Tensor,
        weights: Tensor,
        temperature: float,
    ) -> Tensor:
        gradient = torch.empty_like(student) if ctx.needs_input_grad[0] else None
        loss = student.new_zeros((), dtype=torch.float32)
        most = GPU_LOSS_CHUNK if student.is_cuda else LOSS_CHUNK
        step = max(1, most // student.shape[1])
        for start in range(0, len(student), step):
            chunk = slice(start, start + step)
            log_p = (student[chunk].float() / temperature).log_softmax(dim=-1)
            row, weight = rows[chunk].T, weights[chunk].T[..., None]
            target = targets[row[0]].mul_(weight[0])
            for j in range(1, len(row)):
                target.addcmul_(targets[row[j]], weight[j])
            loss -= (target * log_p).sum()
            if gradient is not None:
                # In place, to avoid writing and reading another chunk.
                total = weight.sum(dim=0) / temperature
                log_p.exp_().mul_(total).sub_(target, alpha=1 / temperature)
                gradient[chunk] = log_p
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None, None, None
