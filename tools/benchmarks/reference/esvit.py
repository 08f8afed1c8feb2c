"""EsViT's losses as the formulas stand: slow and large, to compare with.

One crop and one pair of crops at a time, the whole matrix of similarities of a pair,
gradients by autograd. EsViT (arXiv 2106.09785), §3; two global crops come first.
"""

import torch
import torch.nn.functional as F

from mmtlalign.methods.esvit.crops import run_backbone, views_and_regions
from mmtlalign.methods.esvit.loss import teacher_probabilities

GLOBAL = 2
TEACHER_TEMP, STUDENT_TEMP = 0.04, 0.1


def pairs_of(views):
    """Every crop of the student with every other one of the teacher."""
    return [(t, s) for t in range(GLOBAL) for s in range(views) if s != t]


def direct_match(student, teacher):
    """Best token of the teacher's crop (B, T, P) for each of the student's."""
    alike = F.normalize(student, dim=-1) @ F.normalize(teacher, dim=-1).mT
    return alike.argmax(dim=-1)


def direct_view_loss(student, targets):
    """Crops' logits, a list of (B, K), to probabilities of the teacher."""
    pairs = pairs_of(len(student))
    losses = [
        -(targets[t] * F.log_softmax(student[s] / STUDENT_TEMP, dim=-1)).sum(-1).mean()
        for t, s in pairs
    ]
    return sum(losses) / len(pairs)


def direct_region_loss(student, targets, features, keys):
    """Lists over crops of logits and targets (B, T, K), and of features (B, T, P)."""
    pairs, loss = pairs_of(len(student)), 0
    for t, s in pairs:
        with torch.no_grad():
            match = direct_match(features[s], keys[t])
        index = match[..., None].expand(-1, -1, targets[t].shape[-1])
        wanted = targets[t].gather(1, index)
        log_p = F.log_softmax(student[s] / STUDENT_TEMP, dim=-1)
        loss = loss - (wanted * log_p).sum(-1).mean()
    return loss / len(pairs)


def direct_step(model, crops):
    """The loss of a batch, each crop through the networks by itself."""

    def run(parts, images):
        backbone = parts['backbone']
        view, regions = views_and_regions(backbone, run_backbone(backbone, images))
        return parts['head'](view), parts['region_head'](regions), regions.detach()

    with torch.no_grad():
        wanted = [run(model.teacher, crop) for crop in crops[:GLOBAL]]
    said = [run(model.student(), crop) for crop in crops]
    q_views, q_regions = (
        [
            teacher_probabilities(out[i], model.centers[kind].value, TEACHER_TEMP)
            for out in wanted
        ]
        for i, kind in enumerate(('view', 'region'))
    )
    views, regions, features = (list(part) for part in zip(*said))
    region = direct_region_loss(regions, q_regions, features, [k for *_, k in wanted])
    return 0.5 * direct_view_loss(views, q_views) + 0.5 * region
