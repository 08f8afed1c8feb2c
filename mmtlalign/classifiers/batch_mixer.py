"""Chooses the augment of a batch and keeps the record of what it did."""

from collections.abc import Sequence

import numpy as np
from mmpretrain.registry import BATCH_AUGMENTS
from torch import Tensor

from ..mixing import BatchMix, Mix


class BatchMixer:
    """Pick one augment for each batch, as mmpretrain's RandomBatchAugment does.

    The list may hold augments of this package beside mmpretrain's own. Of the
    latter only the mixed labels are known, so their batches get the ordinary
    mixed target.

    Args:
        augments: One config or augment, or a list of them.
        probs: Probability of each; what is missing to 1 is the probability
            that nothing is mixed. Defaults to None: all equally likely.
    """

    def __init__(
        self,
        augments: dict | Sequence[dict],
        probs: float | Sequence[float] | None = None,
    ):
        if not isinstance(augments, (list, tuple)):
            augments = [augments]
        self.augments = [
            BATCH_AUGMENTS.build(a) if isinstance(a, dict) else a for a in augments
        ]
        if not self.augments:
            raise ValueError('augments=[]: name at least one, or leave train_cfg out.')
        self.probs = self._complete(probs)

    def _complete(self, probs) -> list[float] | None:
        if probs is None:
            return None
        probs = [probs] if isinstance(probs, (int, float)) else list(probs)
        if len(probs) != len(self.augments):
            raise ValueError(
                f'probs={probs} for {len(self.augments)} augments: give one '
                'probability for each.'
            )
        if min(probs) < 0 or sum(probs) > 1 + 1e-9:
            raise ValueError(
                f'probs={probs} sum to {sum(probs):g}: probabilities are at least 0 '
                'and sum to 1 at most; the rest is the probability of no mixing.'
            )
        return [*probs, max(1 - sum(probs), 0.0)]

    def __call__(self, images: Tensor, labels: Tensor) -> Mix:
        """Mix images (B, C, H, W) with labels (B, K)."""
        choices = len(self.augments) if self.probs is None else len(self.probs)
        index = np.random.choice(choices, p=self.probs)
        if index == len(self.augments):
            return Mix.unmixed(images, labels)
        augment = self.augments[index]
        if isinstance(augment, BatchMix):
            return augment.mix(images, labels)
        return Mix.unmixed(*augment(images, labels))
