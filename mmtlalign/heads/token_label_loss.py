"""The losses of Token Labeling: every token has a soft label of its own.

Shapes: ``B`` batch, ``K`` classes, ``N`` image tokens, ``k`` classes that a label
names (k may be far below K).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import MODELS

# Weight of the tokens' loss. The paper writes 0.5; the official training script
# takes 1.0, no published command changes it, and so the published weights were
# trained with it.
DENSE_WEIGHTS = {'paper': 0.5, 'code': 1.0}

# Weight of the map's class label against the true one: where both agree, and where
# they do not. That is the order of the official code, whose comment asks for the
# opposite.
MAP_TRUST = (0.5, 0.9)


@dataclass(frozen=True)
class TopKLabels:
    """Soft labels that name their likeliest classes; all others share a constant.

    Exact for softmaxes over maps that are zero where no class is named, smoothed or
    not, at k instead of K columns.

    Attributes:
        values: Probability of each class that is named (..., k).
        indices: The classes (..., k), int64, different from each other; below 0
            where fewer than k are named.
        rest: Probability of each class that is not named (...).
    """

    values: Tensor
    indices: Tensor
    rest: Tensor

    @classmethod
    def from_probabilities(
        cls, values: Tensor, indices: Tensor, num_classes: int
    ) -> 'TopKLabels':
        """What the values (..., k) leave of 1 is spread evenly over the others."""
        values, indices, named = _named(values, indices)
        others = (num_classes - named.sum(dim=-1)).clamp(min=1)
        rest = (1 - values.sum(dim=-1)).clamp(min=0) / others
        return cls(values, indices, rest)

    @classmethod
    def from_logits(
        cls, values: Tensor, indices: Tensor, num_classes: int
    ) -> 'TopKLabels':
        """Softmax over K classes of which the others have the logit 0, not minus
        infinity: with 1000 classes they hold real mass (official code)."""
        values, indices, named = _named(values, indices)
        # The largest logit of all, the zeros of the others included.
        top = values.amax(dim=-1, keepdim=True).clamp(min=0)
        exp = (values - top).exp() * named
        zero = (-top.squeeze(-1)).exp()
        total = exp.sum(dim=-1) + (num_classes - named.sum(dim=-1)) * zero
        return cls(exp / total.unsqueeze(-1), indices, zero / total)

    def __getitem__(self, index) -> 'TopKLabels':
        return TopKLabels(self.values[index], self.indices[index], self.rest[index])

    def smoothed(self, smoothing: float, num_classes: int) -> 'TopKLabels':
        """As :func:`smooth`."""
        values, rest = (
            smooth(p, smoothing, num_classes) for p in (self.values, self.rest)
        )
        return TopKLabels(values, self.indices, rest)

    def dense(self, num_classes: int) -> Tensor:
        """All columns (..., K), for labels that are few."""
        full = self.rest.unsqueeze(-1).repeat(*[1] * self.rest.ndim, num_classes)
        return full.scatter_add(-1, self.indices.clamp(min=0), self._above())

    def cross_entropy(self, log_probs: Tensor) -> Tensor:
        """Of log-probabilities (..., K), per label (...)."""
        chosen = log_probs.gather(-1, self.indices.clamp(min=0))
        named = (self._above() * chosen).sum(dim=-1)
        return -named - self.rest * log_probs.sum(dim=-1)

    def _above(self) -> Tensor:
        """What the named classes have more than all others (..., k)."""
        return (self.values - self.rest.unsqueeze(-1)) * (self.indices >= 0)


def smooth(labels: Tensor, smoothing: float, num_classes: int) -> Tensor:
    """Labels times ``1 - s + s/K``, plus ``s/K``: what the official code does to
    soft labels. They sum to ``1 + s/K``; the surplus is kept for parity."""
    off = smoothing / num_classes
    return labels * (1 - smoothing + off) + off


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities over the last axis, at least in single precision."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return F.log_softmax(logits, dim=-1, dtype=dtype)


def cross_entropy(log_probs: Tensor, target: Tensor | TopKLabels) -> Tensor:
    """Soft-target cross-entropy of each row, not averaged.

    Args:
        log_probs: (..., K).
        target: Labels (..., K), or a :class:`TopKLabels` of the shape (...).

    Returns:
        (...).
    """
    if isinstance(target, TopKLabels):
        return target.cross_entropy(log_probs)
    return -(target * log_probs).sum(dim=-1)


def soft_target_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of scores (m * B, K) with labels (B, K).

    A batch that is repeated m times meets its labels m times.

    Raises:
        ValueError: If the rows are no multiple of the labels, or K differs.
    """
    repeats, left = divmod(len(logits), len(target))
    if left or not repeats or logits.shape[1:] != target.shape[1:]:
        raise ValueError(
            f'Scores of shape {tuple(logits.shape)} for labels of shape '
            f'{tuple(target.shape)}: there is one label of the same classes for each '
            'row, or for every m-th where the batch is repeated m times.'
        )
    return cross_entropy(log_softmax(logits), target.repeat(repeats, 1)).mean()


def trust_map(map_label: Tensor, ground_truth: Tensor) -> Tensor:
    """Class label of the map, blended with the true one (both and result (B, K)).

    Half and half where both name the same class, 9 to 1 for the map where they do
    not (:data:`MAP_TRUST`). Comes before any mixing of images.
    """
    agree, differ = MAP_TRUST
    same = map_label.argmax(dim=1) == ground_truth.argmax(dim=1)
    trust = differ + (agree - differ) * same.unsqueeze(1).to(map_label.dtype)
    return torch.lerp(ground_truth.to(map_label.dtype), map_label, trust)


@MODELS.register_module()
class TokenLabelLoss(nn.Module):
    """Cross-entropy of the class token and of every other (NeurIPS 2021, arXiv
    2104.10858, §3.1): ``cls_weight * H(class) + dense_weight * mean H(token)``.

    In float32 at least, also under autocast.

    Args:
        dense_weight (float | str): Weight of the tokens, a number or ``'paper'``
            (the paper's β, 0.5) or ``'code'`` (the official script's, 1.0).
            Defaults to ``'code'``, with which the published weights were trained.
        cls_weight (float): Weight of the class token. Defaults to 1.0.

    Raises:
        ValueError: If a weight is negative, both are 0, or the name is unknown.
    """

    def __init__(self, dense_weight: float | str = 'code', cls_weight: float = 1.0):
        super().__init__()
        if isinstance(dense_weight, str):
            if dense_weight not in DENSE_WEIGHTS:
                raise ValueError(
                    f'dense_weight={dense_weight!r}: give a number, or one of '
                    f'{DENSE_WEIGHTS}.'
                )
            dense_weight = DENSE_WEIGHTS[dense_weight]
        if min(dense_weight, cls_weight) < 0 or not dense_weight + cls_weight:
            raise ValueError(
                f'dense_weight={dense_weight}, cls_weight={cls_weight}: weights are '
                'not negative, and one of them is above 0.'
            )
        self.dense_weight = dense_weight
        self.cls_weight = cls_weight

    def forward(
        self,
        class_scores: Tensor,
        class_target: Tensor,
        token_scores: Tensor | None = None,
        token_target: Tensor | TopKLabels | None = None,
        partner: Tensor | None = None,
        share: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The weighted terms; a term without weight is left out.

        Args:
            class_scores: (B, K).
            class_target: (B, K), mixed already.
            token_scores: (B, N, K); not read where ``dense_weight`` is 0.
            token_target: Of each image's own tokens (B, N, K) or
                :class:`TopKLabels` (B, N), or one label for all of its tokens
                (B, 1, K); not read where ``dense_weight`` is 0.
            partner: Index of the other image (B,). Defaults to None: the tokens
                are not mixed, or have been swapped back.
            share: Share of the other image in each token (B, N).

        Returns:
            dict[str, Tensor]: ``loss_cls`` and ``loss_dense``, to be added.
        """
        losses = {}
        if self.cls_weight:
            loss = soft_target_cross_entropy(class_scores, class_target)
            losses['loss_cls'] = self.cls_weight * loss
        if self.dense_weight:
            log_probs = log_softmax(token_scores)
            loss = cross_entropy(log_probs, token_target)
            if partner is not None:
                # Linear in the target: cheaper than a target that names 2k classes.
                other = cross_entropy(log_probs, token_target[partner])
                loss = torch.lerp(loss, other, share.to(loss.dtype))
            losses['loss_dense'] = self.dense_weight * loss.mean()
        return losses


def _named(values: Tensor, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Labels as numbers to calculate with, 0 where no class is named."""
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    named = indices >= 0
    return values * named, indices.long(), named
