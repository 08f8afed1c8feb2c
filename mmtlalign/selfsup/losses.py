"""View loss and region loss of EsViT (arXiv 2106.09785, §3); the first alone is DINO.

Both compare every view of the student with every other view of the teacher; all pairs
weigh the same. Shapes as in :mod:`mmtlalign.selfsup.views`.
"""

from torch import Tensor

from .matching import match_regions
from .targets import cross_entropy_to_rows
from .views import Views, mixed_view_targets, region_targets, view_targets


def view_loss(
    student: Tensor,
    targets: Tensor,
    views: Views,
    temperature: float = 0.1,
    mixing: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of views to views, the mean over pairs and images.

    Args:
        student: Logits (V·B, K).
        targets: Probabilities of the teacher (G·B, K).
        views: What the rows are.
        temperature: Of the student.
        mixing: Where views are mixtures of images: share of image c in view v of
            image b (V, B, B).

    Returns:
        Tensor: L_V, () float32.
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
    """Cross-entropy of each region to the one it matches, the mean over all of it.

    The mean is over the tokens of a view first: a small view weighs like a large one.

    Args:
        student: Logits of regions (R, K).
        targets: Probabilities of the teacher's regions (G·B·T, K).
        student_features: Backbone features that decide the match (R, P).
        teacher_features: The same of the teacher (G·B·T, P).
        views: What the rows are.
        temperature: Of the student.

    Returns:
        Tensor: L_R, () float32.
    """
    matches = match_regions(student_features, teacher_features, views)
    rows, weights = region_targets(views, matches)
    return cross_entropy_to_rows(student, targets, rows, weights, temperature)
