"""Choice of an augment for each batch, or for each image.

Shapes: ``B`` batch, ``K`` classes, ``C`` channels, ``H, W`` pixels.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmpretrain.registry import BATCH_AUGMENTS
from torch import Tensor, nn

from mmtlalign.device import to_device
from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.mixing.augments import (
    BatchMix,
    Drawn,
    mask_count,
    spread_pairs,
)
from mmtlalign.mixing.guides import example_guide, missing_guide
from mmtlalign.mixing.mix import Mix, checked_labels, mask_boxes
from mmtlalign.registry import MODELS
from mmtlalign.tracing.support import backbone_spec


class BatchMixer:
    """Random choice of one augment per batch, as in ``RandomBatchAugment``.

    The list may contain augments of this package and of mmpretrain. Those of mmpretrain
    give only the mixed labels, so that their batches get the usual mixed target.

    With ``mode='elem'`` or ``'pair'`` an augment is drawn for each image or pair, as in
    timm's ``Mixup``. Its recipe is ``augments=[CutMix(alpha=1.0), Mixup(alpha=0.8)],
    probs=[0.5, 0.5], mode='elem'``, with the same random numbers, drawn in this order:
    the augment of every mask, the ratios of every augment, the probabilities (of the
    chosen augment), then the draws of each mask.

    Args:
        augments (dict | Sequence[dict]): One augment or config, or a list of them.
        probs (float | Sequence[float], optional): Probability of each; the difference
            of their sum to 1 is the probability that nothing is mixed. Defaults to
            None: all are equally likely.
        mode (str): Whether an augment is chosen for the ``'batch'``, for each image
            (``'elem'``) or for each pair of images (``'pair'``). With ``'batch'`` the
            augment's own ``mode`` applies to its masks. Defaults to ``'batch'``.
        guide (dict, optional): Config of a guide, which processes the images before
            they are mixed for augments that need it, such as
            ``dict(type='mmtlalign.OwnAttention')``. Defaults to None.

    Raises:
        InputError: There is no augment, the probabilities do not fit, a guide is
            missing, or an augment cannot be chosen image by image.
    """

    def __init__(
        self,
        augments: dict | Sequence[dict],
        probs: float | Sequence[float] | None = None,
        mode: str = 'batch',
        guide: Any = None,
    ):
        several = augments if isinstance(augments, (list, tuple)) else [augments]
        self.augments: list[Any] = [
            BATCH_AUGMENTS.build(a) if isinstance(a, dict) else a for a in several
        ]
        if not self.augments:
            raise InputError('augments=[]: name at least one, or leave train_cfg out.')
        self.probs = self._complete(probs)
        self.mode = mode
        self.guide = MODELS.build(guide) if isinstance(guide, dict) else guide
        self._check_mode()
        self._check_guide()

    def _check_mode(self) -> None:
        if self.mode not in ('batch', 'elem', 'pair'):
            raise InputError(f"mode={self.mode!r}: choose 'batch', 'elem' or 'pair'.")
        if self.mode == 'batch':
            return
        for augment in self.augments:
            name = type(augment).__name__
            if not getattr(augment, 'per_image', False):
                raise InputError(
                    f'train_cfg.mode={self.mode!r} chooses an augment for each image, '
                    f'but {name} cannot draw the mask of a single image. Remove this '
                    "augment, or use mode='batch'."
                )
            if augment.mode != 'batch' or augment.pairing != 'flip':
                raise InputError(
                    f'train_cfg.mode={self.mode!r} with {name}(mode={augment.mode!r}, '
                    f'pairing={augment.pairing!r}): train_cfg.mode already chooses and '
                    'pairs the images (b with B - 1 - b); remove both options from the '
                    'augment.'
                )

    def _check_guide(self) -> None:
        none: frozenset[str] = frozenset()
        needed = [getattr(augment, 'needs', none) for augment in self.augments]
        if self.guide is not None and not any(needed):
            # Not an error: a hook may switch to augments that read it.
            print_log(
                f'guide={type(self.guide).__name__}: no augment of train_cfg reads it. '
                'Remove it, or name an augment that does, such as mmtlalign.SMMix.',
                'current',
                logging.WARNING,
            )
        for augment, needs in zip(self.augments, needed):
            if not needs:
                continue
            if self.guide is None:
                raise InputError(missing_guide(augment))
            if needs - self.guide.gives:
                raise InputError(
                    f'{type(augment).__name__} needs {sorted(needs)} and the guide '
                    f'{type(self.guide).__name__} gives {sorted(self.guide.gives)}: '
                    f'use {example_guide(augment)}.'
                )

    def bind(self, model: Any) -> None:
        """Connect the guide with a classifier, and check that its maps fit.

        Raises:
            UnsupportedError: The guide cannot read the network.
            InputError: Its maps do not fit an augment, or the ``patch_size`` of an
                augment is no multiple of the network's.
        """
        grid = None if self.guide is None else self.guide.bind(model)
        for augment in self.augments:
            if grid is not None and isinstance(augment, BatchMix) and augment.needs:
                augment.check_guide(*grid)
        self._check_tokens(model.backbone)

    def _check_tokens(self, backbone: nn.Module) -> None:
        try:
            sides = backbone_spec(backbone).patch(backbone)
        except UnsupportedError:
            return
        for augment in self.augments:
            patch = getattr(augment, 'patch_size', None)
            if patch and any(patch % side for side in sides):
                raise InputError(
                    f'{type(augment).__name__}(patch_size={patch}) for tokens of '
                    f'{sides[0]} x {sides[1]} pixels cuts through tokens: give the '
                    'size of the tokens, or a multiple of it.'
                )

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

    def check_records(self, head: str, without: str = '') -> None:
        """Check that all augments record the partner, which label maps need.

        Args:
            head: Name of the head that reads label maps.
            without: How to train without maps, for the message. Defaults to ''.

        Raises:
            InputError: One is of mmpretrain, whose augments record nothing.
        """
        silent = [
            type(a).__name__ for a in self.augments if not isinstance(a, BatchMix)
        ]
        if silent:
            raise InputError(
                f'{head} reads the label map of each image at its own pixels, and '
                f'{silent} of mmpretrain do not record which pixels these are: use the '
                "augments of this package (dict(type='mmtlalign.Mixup'), "
                f'...){without}.'
            )

    def __call__(self, images: Tensor, labels: Tensor) -> Mix:
        """Mix images (B, C, H, W) in place, and return the record of the batch.

        Labels are (B, K), one-hot or smoothed.
        """
        if self.mode != 'batch':
            return self._mix_per_image(images, labels)
        index = np.random.choice(self._choices(), p=self.probs)
        if index == len(self.augments):
            return Mix.unmixed(images, labels)
        augment = self.augments[index]
        if isinstance(augment, BatchMix):
            return augment.mix(images, labels, inplace=True, guide=self.guide)
        return Mix.unmixed(*augment(images, labels))

    def _choices(self) -> int:
        return len(self.augments) if self.probs is None else len(self.probs)

    def _mix_per_image(self, images: Tensor, labels: Tensor) -> Mix:
        labels = checked_labels(images, labels)
        batch, size = len(images), (int(images.shape[-2]), int(images.shape[-1]))
        count = mask_count(batch, self.mode)
        chosen = np.random.choice(self._choices(), size=count, p=self.probs)
        # The last row is for images that no augment mixes.
        shares = [augment.sample_lams(count) for augment in self.augments]
        lams = np.stack([*shares, np.ones_like(shares[0])])
        probs = np.array([*(augment.prob for augment in self.augments), 0.0])
        lams = lams[chosen, np.arange(count)]
        lams[np.random.rand(count) >= probs[chosen]] = 1
        if (lams == 1).all():
            return Mix.unmixed(images, labels)
        masks = np.zeros((count, *size), np.float32)
        for i in np.flatnonzero(lams < 1):
            masks[i] = self.augments[chosen[i]].draw_mask(size, lams[i])
        partner = torch.arange(batch - 1, -1, -1, device=images.device)
        before = images.clone() if len(self.augments) > 1 else images
        whole: Any = 0
        for index, augment in enumerate(self.augments):
            drawn = Drawn(masks * (chosen == index)[:, None, None])
            if self.mode == 'pair':
                drawn = spread_pairs(drawn, batch)
            whole = whole + augment.paste(images, before, partner, drawn)
        source = self._find_source(size, partner, chosen, whole)
        return Mix(images, labels, partner, whole, source=source)

    def _find_source(
        self,
        size: tuple[int, int],
        partner: Tensor,
        chosen: np.ndarray,
        mask: Tensor,
    ) -> Tensor | None:
        """Return the region that fills the box around each mask (B, 4).

        None: the same position for all.

        Args:
            size: Height and width of the images in pixels.
            partner: Index of each image's partner (B,).
            chosen: Index of the augment of each mask (n,).
            mask: Masks of all images (B, 1, H, W).
        """
        sources = [augment.find_source(size, partner) for augment in self.augments]
        if all(source is None for source in sources):
            return None
        batch = len(partner)
        if len(chosen) < batch:
            places = np.arange(batch)
            chosen = chosen[np.minimum(places, places[::-1])]
        found = mask_boxes(mask[:, 0])
        for index, source in enumerate(sources):
            if source is not None:
                its = to_device(torch.from_numpy(chosen == index), found.device)
                found = torch.where(its[:, None], source, found)
        return found


def from_batch_augment(augments: Any, guide: Any = None) -> BatchMixer:
    """Return the mixer for a ``RandomBatchAugment`` of mmpretrain.

    Args:
        augments: The ``RandomBatchAugment`` object.
        guide: Guide, or its config, for augments that need one. Defaults to None.

    Raises:
        InputError: The mixer does not support its augments.
    """
    # If there are probabilities, the last entry, None, stands for no mixing.
    parts = [a for a in augments.augments if a is not None]
    probs = augments.probs and list(augments.probs)[: len(parts)]
    return BatchMixer(parts, probs, guide=guide)


def make_mixer(train_cfg: dict | None) -> BatchMixer | None:
    """Return the mixer of a classifier's ``train_cfg``, or None without one.

    Raises:
        InputError: A key is missing or unknown, or a value is invalid.
    """
    if train_cfg is None:
        return None
    unknown = sorted(set(train_cfg) - {'augments', 'probs', 'mode', 'guide'})
    if unknown or 'augments' not in train_cfg:
        raise InputError(
            f'train_cfg has the keys {sorted(train_cfg)}: MixClassifier reads '
            "'augments' (needed) and 'probs', 'mode', 'guide'."
        )
    return BatchMixer(**train_cfg)
