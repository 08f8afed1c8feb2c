"""The choice of one augment for each batch.

Shapes: ``B`` batch, ``K`` classes, ``C`` channels, ``H, W`` pixels.
"""

from collections.abc import Sequence

import numpy as np
from mmpretrain.registry import BATCH_AUGMENTS
from torch import Tensor

from mmtlalign.errors import InputError
from mmtlalign.mixing.augments import BatchMix
from mmtlalign.mixing.mix import Mix


class BatchMixer:
    """Pick one augment for each batch, as mmpretrain's ``RandomBatchAugment`` does.

    The list may hold augments of this package beside mmpretrain's own. Of the latter
    only the mixed labels are known, so their batches get the ordinary mixed target.

    Args:
        augments (dict | Sequence[dict]): One augment or config, or a list of them.
        probs (float | Sequence[float], optional): Probability of each; what is missing
            to 1 is the probability that nothing is mixed. Defaults to None: all
            equally likely.

    Raises:
        InputError: There is no augment, or the probabilities do not fit.
    """

    def __init__(
        self,
        augments: dict | Sequence[dict],
        probs: float | Sequence[float] | None = None,
    ):
        several = augments if isinstance(augments, (list, tuple)) else [augments]
        self.augments = [
            BATCH_AUGMENTS.build(a) if isinstance(a, dict) else a for a in several
        ]
        if not self.augments:
            raise InputError('augments=[]: name at least one, or leave train_cfg out.')
        self.probs = self._complete(probs)

    def _complete(self, probs: float | Sequence[float] | None) -> list[float] | None:
        if probs is None:
            return None
        probs = [probs] if isinstance(probs, (int, float)) else list(probs)
        if len(probs) != len(self.augments):
            raise InputError(
                f'probs={probs} for {len(self.augments)} augments: give one '
                'probability for each.'
            )
        if min(probs) < 0 or sum(probs) > 1 + 1e-9:
            raise InputError(
                f'probs={probs} sum to {sum(probs):g}: probabilities are at least 0 '
                'and sum to 1 at most; the rest is the probability of no mixing.'
            )
        return [*probs, max(1 - sum(probs), 0.0)]

    def check_records(self, head: str) -> None:
        """Check that all augments record the partner, which label maps need.

        Args:
            head: Name of the head that has to know.

        Raises:
            InputError: One of mmpretrain's does not.
        """
        silent = [
            type(a).__name__ for a in self.augments if not isinstance(a, BatchMix)
        ]
        if silent:
            raise InputError(
                f'{head} gives every token the label of its image, and {silent} of '
                'mmpretrain do not say which image that is: take those of this package '
                "(dict(type='mmtlalign.Mixup'), ...), or train without maps: "
                "dense_weight=0 in the loss and class_target='label' in the head."
            )

    def __call__(self, images: Tensor, labels: Tensor) -> Mix:
        """Mix images (B, C, H, W), in their memory, with labels (B, K)."""
        choices = len(self.augments) if self.probs is None else len(self.probs)
        index = np.random.choice(choices, p=self.probs)
        if index == len(self.augments):
            return Mix.unmixed(images, labels)
        augment = self.augments[index]
        if isinstance(augment, BatchMix):
            return augment.mix(images, labels, inplace=True)
        return Mix.unmixed(*augment(images, labels))


def make_mixer(train_cfg: dict | None) -> BatchMixer | None:
    """Make the mixer that ``train_cfg`` of a classifier asks for; None without one.

    Raises:
        InputError: A key is missing or unknown, or the mixer takes no such value.
    """
    if train_cfg is None:
        return None
    unknown = sorted(set(train_cfg) - {'augments', 'probs'})
    if unknown or 'augments' not in train_cfg:
        raise InputError(
            f'train_cfg has the keys {sorted(train_cfg)}: MixClassifier reads '
            "'augments' (needed) and 'probs'."
        )
    return BatchMixer(**train_cfg)
