"""The losses of Token Labeling: every token has a soft label of its own.

Shapes: ``B`` batch, ``K`` classes, ``N`` image tokens, ``k`` classes that a label
names (k may be far below K).
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

# Weight of the tokens' loss. The paper writes 0.5; the official training script
# takes 1.0, no published command changes it, and so the published weights were
# trained with it.
DENSE_WEIGHTS = {'paper': 0.5, 'code': 1.0}

# Weight of the map's class label against the true one: where both agree, and where
# they do not. That is the order of the official code, whose comment asks for the
# opposite.
MAP_TRUST = (0.5, 0.9)


def smooth_one_hot(labels: Array, smoothing: float, num_classes: int) -> Array:
    """Smooth labels of images (..., K): ``y (1 - s) + s/K``. They still sum to 1."""
    return labels * (1 - smoothing) + smoothing / num_classes


def smooth_soft_labels_official(
    labels: Array, smoothing: float, num_classes: int
) -> Array:
    """Smooth labels of maps (..., K) as the official code: ``p (1 - s + s/K) + s/K``.

    They sum to ``1 + s/K``; the surplus is kept for parity.
    """
    off = smoothing / num_classes
    return labels * (1 - smoothing + off) + off


@dataclass(frozen=True)
class TopKLabels:
    """Soft labels that name their likeliest classes; all others share a constant.

    Exact for softmaxes over maps that are zero where no class is named, smoothed or
    not, at k instead of K columns.

    Attributes:
        excess: What each class that is named has more than one that is not
            (..., k); 0 where fewer than k are named.
        indices: The classes (..., k), int64. The excess of a class that is named
            twice adds up.
        rest: Probability of a class that is not named (...).
    """

    excess: Tensor
    indices: Tensor
    rest: Tensor

    @classmethod
    def from_probabilities(
        cls, values: Tensor, indices: Tensor, num_classes: int
    ) -> 'TopKLabels':
        """Make labels whose other classes share what the values leave of 1.

        Args:
            values: Probabilities (..., k).
            indices: Their classes (..., k), all different, or below 0 for none.
            num_classes: K.
        """
        values, indices, named = _named(values, indices)
        others = (num_classes - named.sum(dim=-1)).clamp(min=1)
        rest = (1 - values.sum(dim=-1)).clamp(min=0) / others
        return cls((values - rest.unsqueeze(-1)) * named, indices, rest)

    @classmethod
    def from_logits(
        cls, values: Tensor, indices: Tensor, num_classes: int
    ) -> 'TopKLabels':
        """Make the softmax over K classes of which the others have the logit 0.

        Not minus infinity: with 1000 classes they hold real mass (official code).
        Arguments as of :meth:`from_probabilities`, the values being logits.
        """
        values, indices, named = _named(values, indices)
        # The largest logit of all, the zeros of the others included.
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
        """Mix labels (B, N) with those of other images (B,), by their share (B, N).

        Of these count the tokens ``source`` (B, N), or None for the same places.
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
        """Return all columns (..., K), for labels that are few."""
        full = self.rest.unsqueeze(-1).repeat(*[1] * self.rest.ndim, num_classes)
        return full.scatter_add(-1, self.indices, self.excess)

    def cross_entropy(self, log_probs: Tensor) -> Tensor:
        """Return the cross-entropy (...) with log-probabilities (..., K)."""
        named = (self.excess * log_probs.gather(-1, self.indices)).sum(dim=-1)
        return -named - self.rest * log_probs.sum(dim=-1)


def _named(values: Tensor, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return values and classes, 0 where none is named, and where one is."""
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

    A batch that is repeated m times meets its labels m times.

    Raises:
        InputError: If the rows are no multiple of the labels, or K differs.
    """
    repeats, left = divmod(len(logits), len(target))
    if left or not repeats or logits.shape[1:] != target.shape[1:]:
        raise InputError(
            f'Scores of shape {tuple(logits.shape)} for labels of shape '
            f'{tuple(target.shape)}: there is one label of the same classes for each '
            'row, or for every m-th where the batch is repeated m times.'
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
        partner: Index of the other image (B,).
        share: Share of the other image in each token (B, N).
        source: Which token of the other image each token shows (B, N). Defaults to
            None: that at its own place.
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

    Half and half where both name the same class, 9 to 1 for the map where they do
    not (:data:`MAP_TRUST`). Comes before any mixing of images.
    """
    agree, differ = MAP_TRUST
    same = map_label.argmax(dim=1) == ground_truth.argmax(dim=1)
    trust = differ + (agree - differ) * same.unsqueeze(1).to(map_label.dtype)
    return torch.lerp(ground_truth.to(map_label.dtype), map_label, trust)


@MODELS.register_module()
class TokenLabelLoss(nn.Module):
    """Cross-entropy of the class token and of every other token.

    ``cls_weight * H(class) + dense_weight * mean H(token)`` (NeurIPS 2021, arXiv
    2104.10858, §3.1). In float32 at least, also under autocast.

    Args:
        dense_weight (float | str): Weight of the tokens, a number or ``'paper'``
            (the paper's β, 0.5) or ``'code'`` (the official script's, 1.0).
            Defaults to ``'code'``, with which the published weights were trained.
        cls_weight (float): Weight of the class token. Defaults to 1.0.

    Raises:
        InputError: If a weight is negative, both are 0, or the name is unknown.
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
        source: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the weighted terms; a term without weight is left out.

        Args:
            class_scores: (B, K).
            class_target: (B, K), mixed already.
            token_scores: (B, N, K); not read where ``dense_weight`` is 0.
            token_target: Labels of each image's own tokens (B, N, K) or
                :class:`TopKLabels` (B, N), or one label for all of its tokens
                (B, 1, K); not read where ``dense_weight`` is 0.
            partner: Index of the other image (B,). Defaults to None: the tokens
                are not mixed, or have been swapped back.
            share: Share of the other image in each token (B, N).
            source: Which token of the other image each token shows (B, N). Defaults to
                None: that at its own place.

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
