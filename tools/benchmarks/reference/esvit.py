"""Reference implementation of EsViT's losses straight from the formulas, and slow.

It takes one crop and one pair of crops at a time, computes the whole matrix of
similarities of a pair, and takes gradients by autograd. EsViT (arXiv 2106.09785), §3;
two global crops come first.

Shapes: ``B`` images, ``T`` tokens, ``P`` channels, ``K`` prototypes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.methods.esvit.crops import run_backbone, views_and_regions
from mmtlalign.methods.esvit.loss import teacher_probabilities

GLOBAL = 2
TEACHER_TEMP, STUDENT_TEMP = 0.04, 0.1


def pairs_of(views: int) -> list[tuple[int, int]]:
    """Pair every crop of the student with every other one of the teacher."""
    return [(t, s) for t in range(GLOBAL) for s in range(views) if s != t]


def direct_match(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the best token (B, T) of the teacher's crop for each of the student's.

    Args:
        student: Features of a crop (B, T, P).
        teacher: Features of a crop (B, T', P).
    """
    similarity = F.normalize(student, dim=-1) @ F.normalize(teacher, dim=-1).mT
    return similarity.argmax(dim=-1)


def direct_view_loss(student: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Return the view loss.

    Args:
        student: Logits of each crop (B, K).
        targets: Probabilities of each crop of the teacher (B, K).
    """
    pairs = pairs_of(len(student))
    losses = [
        -(targets[t] * F.log_softmax(student[s] / STUDENT_TEMP, dim=-1)).sum(-1).mean()
        for t, s in pairs
    ]
    return sum(losses) / len(pairs)


def direct_region_loss(
    student: Sequence[Tensor],
    targets: Sequence[Tensor],
    features: Sequence[Tensor],
    keys: Sequence[Tensor],
) -> Tensor:
    """Return the region loss.

    Args:
        student: Logits of each crop (B, T, K).
        targets: Probabilities of each crop of the teacher (B, T, K).
        features: Features of each crop (B, T, P).
        keys: Features of each crop of the teacher (B, T, P).
    """
    pairs, loss = pairs_of(len(student)), 0
    for t, s in pairs:
        with torch.no_grad():
            match = direct_match(features[s], keys[t])
        index = match[..., None].expand(-1, -1, targets[t].shape[-1])
        target = targets[t].gather(1, index)
        log_p = F.log_softmax(student[s] / STUDENT_TEMP, dim=-1)
        loss = loss - (target * log_p).sum(-1).mean()
    return loss / len(pairs)


def direct_step(model: nn.Module, crops: Sequence[Tensor]) -> Tensor:
    """Return the loss of a batch, passing each crop through the networks separately.

    Args:
        model: EsViT.
        crops: Images of each crop (B, 3, H, W).
    """

    def run(parts, images):
        backbone = parts['backbone']
        view, regions = views_and_regions(backbone, run_backbone(backbone, images))
        return parts['head'](view), parts['region_head'](regions), regions.detach()

    with torch.no_grad():
        teacher_out = [run(model.teacher, crop) for crop in crops[:GLOBAL]]
    student_out = [run(model.student(), crop) for crop in crops]
    q_views, q_regions = (
        [
            teacher_probabilities(out[i], model.centers[kind].value, TEACHER_TEMP)
            for out in teacher_out
        ]
        for i, kind in enumerate(('view', 'region'))
    )
    views, regions, features = (list(part) for part in zip(*student_out))
    region = direct_region_loss(
        regions, q_regions, features, [k for *_, k in teacher_out]
    )
    return 0.5 * direct_view_loss(views, q_views) + 0.5 * region
