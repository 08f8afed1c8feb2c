"""The losses of Token Labeling, with a soft label for every token.

Shapes: ``B`` batch, ``K`` classes, ``N`` image tokens, ``k`` classes stored for a label
(k may be much smaller than K).
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmtlalign.errors import InputError
from mmtlalign.registry import MODELS

Array = TypeVar('Array', Tensor, np.ndarray)

# Weight of the tokens' loss. The paper has 0.5; the official training script has 1.0,
# which no published command changes, so the published weights were trained with it.
DENSE_WEIGHTS = {'paper': 0.5, 'code': 1.0}

# Weight of the map's class label relative to the true one if both agree, and if they
# do not. This is what the official code does; its comment says the opposite.
MAP_TRUST = (0.5, 0.9)


def smooth_one_hot(labels: Array, smoothing: float, num_classes: int) -> Array:
    """Smooth labels of images (..., K): ``y (1 - s) + s/K``. They still sum to 1."""
    return labels * (1 - smoothing) + smoothing / num_classes


def smooth_soft_labels_official(
    labels: Array, smoothing: float, num_classes: int
) -> Array:
    """Smooth labels of maps (..., K) as the official code: ``p (1 - s + s/K) + s/K``.

    They sum to ``1 + s/K``, which is kept for parity with the official code.
    """
    off = smoothing / num_classes
    return labels * (1 - smoothing + off) + off


@dataclass(frozen=True)
class TopKLabels:
    """Soft labels stored for the k most probable classes, with a constant for others.

    They represent exactly a softmax over a map whose other logits are zero, smoothed or
    not, with k instead of K columns.

    Attributes:
        excess: Probability of each stored class minus that of the others (..., k); 0
            if fewer than k classes are stored.
        indices: The stored classes (..., k), int64. The excess of a class that occurs
            twice adds up.
        rest: Probability of each class that is not stored (...).
    """

    excess: Tensor
    indices: Tensor
    rest: Tensor

    @classmethod
    def from_probabilities(
        cls, values: Tensor, indices: Tensor, num_classes: int
    ) -> 'TopKLabels':
        """Create labels whose other classes share the remaining probability.

        Args:
            values: Probabilities (..., k).
            indices: Their classes (..., k), all different; negative for unused ones.
            num_classes: Number of classes K.
        """
        values, indices, named = _named(values, indices)
        others = (num_classes - named.sum(dim=-1)).clamp(min=1)
        rest = (1 - values.sum(dim=-1)).clamp(min=0) / others
        return cls((values - rest.unsqueeze(-1)) * named, indices, rest)

    @classmethod
    def from_logits(
        cls, values: Tensor, indices: Tensor, num_classes: int
    ) -> 'TopKLabels':
        """Create labels as the softmax over K classes, where others have logit 0.

        As in the official code the logit is 0, not minus infinity: with 1000 classes
        they have a noticeable probability. Arguments as in :meth:`from_probabilities`,
        with logits as values.
        """
        values, indices, named = _named(values, indices)
        # The largest logit of all, including the zeros of the other classes.
        top = values.amax(dim=-1, keepdim=True).clamp(min=0)
        exp, zero = (values - top).exp(), (-top).exp()
        excess = (exp - zero) * named
        total = excess.sum(dim=-1, keepdim=True) + num_classes * zero
        return cls(excess / total, indices, (zero / total).squeeze(-1))

    def smoothed(self, smoothing: float, num_classes: int) -> 'TopKLabels':
        """Smooth as :func:`smooth_soft_labels_official` does."""
        scale = 1 - smoothing + smoothing / num_classes
        rest = smooth_soft_labels_official(self.rest, smoothing, num_classes)
        return TopKLabels(self.excess * scale, self.indices, rest)

    def mixed(
        self, partner: Tensor, share: Tensor, source: Tensor | None = None
    ) -> 'TopKLabels':
        """Mix labels (B, N) with those of partners (B,), by their share (B, N).

        The labels of a partner are those of its tokens ``source`` (B, N), or None for
        the same positions.
        """
        share = share.to(self.rest.dtype)
        each = share.unsqueeze(-1)
        others = self.excess[partner], self.indices[partner], self.rest[partner]
        if source is not None:
            others = tuple(_gather(other, source) for other in others)
        excess = torch.cat([(1 - each) * self.excess, each * others[0]], dim=-1)
        indices = torch.cat([self.indices, others[1]], dim=-1)
        rest = torch.lerp(self.rest, others[2], share)
        return TopKLabels(excess, indices, rest)

    def dense(self, num_classes: int) -> Tensor:
        """Return all columns (..., K), for small numbers of labels."""
        full = self.rest.unsqueeze(-1).repeat(*[1] * self.rest.ndim, num_classes)
        return full.scatter_add(-1, self.indices, self.excess)

    def cross_entropy(self, log_probs: Tensor) -> Tensor:
        """Return the cross-entropy (...) with log-probabilities (..., K)."""
        named = (self.excess * log_probs.gather(-1, self.indices)).sum(dim=-1)
        return -named - self.rest * log_probs.sum(dim=-1)


def _named(values: Tensor, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return values and classes, 0 for unused ones, and the mask of used ones."""
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    named = indices >= 0
    return values * named, indices.long() * named, named


def log_softmax(logits: Tensor) -> Tensor:
    """Return log-probabilities over the last axis, at least in single precision."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return F.log_softmax(logits, dim=-1, dtype=dtype)


def cross_entropy(log_probs: Tensor, target: Tensor | TopKLabels) -> Tensor:
    """Return the soft-target cross-entropy (...) of each row, not averaged.

    Args:
        log_probs: (..., K).
        target: Labels (..., K), or a :class:`TopKLabels` of the shape (...).
    """
    if isinstance(target, TopKLabels):
        return target.cross_entropy(log_probs)
    return -(target * log_probs).sum(dim=-1)


def soft_target_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy of scores (m * B, K) with labels (B, K).

    If a batch is repeated m times, its labels are repeated as well.

    Raises:
        InputError: The number of rows is no multiple of B, or K differs.
    """
    repeats, left = divmod(len(logits), len(target))
    if left or not repeats or logits.shape[1:] != target.shape[1:]:
        raise InputError(
            f'Scores of shape {tuple(logits.shape)} for labels of shape '
            f'{tuple(target.shape)}: the number of classes must agree, and the number '
            'of rows too; if the batch is repeated m times, there are m times as many '
            'rows of scores.'
        )
    return cross_entropy(log_softmax(logits), target.repeat(repeats, 1)).mean()


def mix_tokens(
    target: Tensor | TopKLabels,
    partner: Tensor,
    share: Tensor,
    source: Tensor | None = None,
) -> Tensor | TopKLabels:
    """Mix the labels of tokens that come from two images.

    Args:
        target: Labels of each image's own tokens, (B, N or 1, K) or
            :class:`TopKLabels`.
        partner: Index of the partner image (B,).
        share: Share of the partner in each token (B, N).
        source: Index of the partner's token that each token shows (B, N). Defaults to
            None: that at the same position.
    """
    if isinstance(target, TopKLabels):
        return target.mixed(partner, share, source)
    other = target[partner]
    if source is not None and target.shape[1] > 1:
        other = _gather(other, source)
    return torch.lerp(target, other, share.unsqueeze(-1).to(target.dtype))


def _gather(labels: Tensor, source: Tensor) -> Tensor:
    """Return the labels (B, N, ...) of the tokens ``source`` (B, N)."""
    rows = torch.arange(len(labels), device=labels.device)
    return labels[rows[:, None], source]


def trust_map(map_label: Tensor, ground_truth: Tensor) -> Tensor:
    """Blend the class label of the map with the true one (both and result (B, K)).

    The map has weight 0.5 if both have the same most probable class, else 0.9
    (:data:`MAP_TRUST`). This comes before any mixing of images.
    """
    agree, differ = MAP_TRUST
    same = map_label.argmax(dim=1) == ground_truth.argmax(dim=1)
    trust = differ + (agree - differ) * same.unsqueeze(1).to(map_label.dtype)
    return torch.lerp(ground_truth.to(map_label.dtype), map_label, trust)


@MODELS.register_module()
class TokenLabelLoss(nn.Module):
    """Cross-entropy of the class token and of every image token.

    ``cls_weight * H(class) + dense_weight * mean H(token)`` (NeurIPS 2021, arXiv
    2104.10858, §3.1), computed in at least float32, also under autocast.

    Args:
        dense_weight (float | str): Weight of the tokens, a number or ``'paper'``
            (the paper's β, 0.5) or ``'code'`` (the official script's, 1.0).
            Defaults to ``'code'``, with which the published weights were trained.
        cls_weight (float): Weight of the class token. Defaults to 1.0.

    Raises:
        InputError: A weight is negative, both are 0, or the name is unknown.
    """

    def __init__(self, dense_weight: float | str = 'code', cls_weight: float = 1.0):
        super().__init__()
        if isinstance(dense_weight, str):
            if dense_weight not in DENSE_WEIGHTS:
                raise InputError(
                    f'dense_weight={dense_weight!r}: give a number, or one of '
                    f'{DENSE_WEIGHTS}.'
                )
            dense_weight = DENSE_WEIGHTS[dense_weight]
        if min(dense_weight, cls_weight) < 0 or not dense_weight + cls_weight:
            raise InputError(
                f'dense_weight={dense_weight}, cls_weight={cls_weight}: weights must '
                'not be negative, and at least one must be above 0.'
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
        source: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the weighted terms; a term without weight is left out.

        Args:
            class_scores: (B, K).
            class_target: (B, K), already mixed.
            token_scores: (B, N, K); not used if ``dense_weight`` is 0.
            token_target: Labels of each image's own tokens (B, N, K) or
                :class:`TopKLabels` (B, N), or one label for all of its tokens
                (B, 1, K); not used if ``dense_weight`` is 0.
            partner: Index of the partner image (B,). Defaults to None: the tokens
                are not mixed, or have been swapped back.
            share: Share of the partner in each token (B, N).
            source: Index of the partner's token that each token shows (B, N). Defaults
                to None: that at the same position.

        Returns:
            ``loss_cls`` and ``loss_dense``, to be added.
        """
        losses = {}
        if self.cls_weight:
            loss = soft_target_cross_entropy(class_scores, class_target)
            losses['loss_cls'] = self.cls_weight * loss
        if self.dense_weight:
            if partner is not None:
                token_target = mix_tokens(token_target, partner, share, source)
            loss = cross_entropy(log_softmax(token_scores), token_target)
            losses['loss_dense'] = self.dense_weight * loss.mean()
        return losses
