"""The classifier that connects a batch augment with a head.

:class:`MixClassifier` mixes the batch, runs the network and lets the head compute the
loss.

Shapes: ``B`` batch, ``K`` classes, ``H, W`` pixels.
"""

import logging
from typing import Any

import torch
from mmengine.logging import print_log
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.models.heads import ClsHead
from torch import Tensor

from mmtlalign.methods.guides import guides_of
from mmtlalign.methods.mixer import BatchMixer, from_batch_augment, make_mixer
from mmtlalign.methods.preprocessor import (
    MixDataPreprocessor,
    batch_labels,
    preprocessor_config,
)
from mmtlalign.mixing.mix import Mix
from mmtlalign.registry import MODELS


@MODELS.register_module()
class MixClassifier(ImageClassifier):
    """An ``ImageClassifier`` that keeps a record of how each batch was mixed.

    It mixes in :meth:`loss` rather than in the data preprocessor, as mmpretrain does,
    because the head needs the record of the batch. A head of this package defines what
    is read from the forward pass and computes the loss from it; any other head gets
    the usual target, mixed by area. Backbone, state dict and inference are those of
    ``ImageClassifier``.

    Args:
        backbone (dict): Config of the backbone.
        head (dict): Config of the head.
        train_cfg (dict, optional): ``augments``, ``probs``, ``mode`` and ``guide`` of
            :class:`mmtlalign.methods.mixer.BatchMixer`. Defaults to None: no mixing.
        data_preprocessor (dict, optional): Config of the preprocessor, with
            ``num_classes`` equal to the head's. Its type defaults to
            ``MixDataPreprocessor``.
        **kwargs: ``neck``, ``pretrained`` and ``init_cfg`` as in ``ImageClassifier``.

    Raises:
        UnsupportedError: The head traces labels, and the backbone cannot be traced.
        InputError: Head, backbone, neck, augments and preprocessor are incompatible.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            backbone,
            head=head,
            data_preprocessor=preprocessor_config(data_preprocessor, head),
            **kwargs,
        )
        self.mixer = self._checked(make_mixer(train_cfg))
        # Kept for augments that a schedule switches to after a time without mixing.
        self.guide = self.mixer and self.mixer.guide
        if isinstance(self.data_preprocessor, MixDataPreprocessor):
            self.data_preprocessor.on_switch = self.switch_augments
        self.traces = hasattr(self.head, 'trace')
        if self.traces:
            self.head.attach(self.backbone)
            if hasattr(self.neck, 'check'):
                self.neck.check(self.backbone)
        if hasattr(self.head, 'bind'):
            self.head.bind(self)
        if self.mixer is not None:
            self.mixer.bind(self)

    def _checked(self, mixer: BatchMixer | None) -> BatchMixer | None:
        if mixer is None:
            return None
        if hasattr(self.head, 'check_mixer'):
            self.head.check_mixer(mixer)
        name = type(self.head).__name__
        for own in {getattr(augment, 'own_head', '') for augment in mixer.augments}:
            if own not in name:
                print_log(
                    f'The augment {own} with the head {name} mixes images as {own} '
                    'does, but without its loss terms: they are in the heads '
                    f'mmtlalign.{own}…ClsHead.',
                    'current',
                    logging.WARNING,
                )
        return mixer

    def init_weights(self) -> None:
        """Initialise the weights before training, and load those of guide networks.

        Extra modules of the head initialise themselves, so that all other weights equal
        those of the baseline with the same seed. A file of the whole classifier
        (``pretrained``) has their weights, too.
        """
        init_cfg = self.init_cfg if isinstance(self.init_cfg, dict) else {}
        loads = init_cfg.get('type') == 'Pretrained'
        names = () if loads else getattr(self.head, 'extra_modules', ())
        apart = {name: self.head._modules.pop(name) for name in names}
        super().init_weights()
        self.head._modules.update(apart)
        for guide in guides_of(self):
            if hasattr(guide, 'load'):
                guide.load()

    def make_switched_mixer(self, augments: Any) -> BatchMixer | None:
        """Return the mixer for the augments that a ``SwitchRecipeHook`` switches to.

        Args:
            augments: mmpretrain's ``RandomBatchAugment``; None for no mixing.

        Raises:
            InputError: The head does not support these augments.
        """
        if augments is None:
            return None
        mixer = from_batch_augment(augments, self.guide)
        mixer.bind(self)
        return self._checked(mixer)

    def switch_augments(self, augments: Any) -> None:
        """Replace the augments; see :meth:`make_switched_mixer`."""
        self.mixer = self.make_switched_mixer(augments)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Mix, run the network, and let the head compute the loss.

        Args:
            inputs: Images (B, 3, H, W).
            data_samples: B data samples from :class:`MixDataPreprocessor`, or each
                with ``gt_score`` (K,).

        Returns:
            Losses of the head by name.
        """
        mix = self._mix(inputs, data_samples)
        if not self.traces:
            with mix.apply_in_backbone(self.backbone):
                feats = self.extract_feat(mix.images)
            return self._plain_loss(feats, data_samples, mix.target(mix.area()))
        tracing = self.head.trace(self.backbone, mix, data_samples)
        with mix.apply_in_backbone(self.backbone), tracing as trace:
            feats = self.extract_feat(mix.images)
        return self.head.loss(feats, data_samples, mix, trace)

    def _plain_loss(self, feats: tuple, data_samples: list, target: Tensor) -> dict:
        """Compute the loss of a head without tracing, for a target (B, K)."""
        kind = type(self.head)
        stock = kind.loss is ClsHead.loss and kind._get_loss is ClsHead._get_loss
        if stock and not self.head.cal_acc:
            # The same loss, without writing the target to each data sample.
            scores = self.head(feats)
            loss = self.head.loss_module(scores, target, avg_factor=len(scores))
            return dict(loss=loss)
        for sample, score in zip(data_samples, target):
            sample.set_gt_score(score)
        return self.head.loss(feats, data_samples)

    # NumPy draws and data samples would only cause graph breaks.
    @torch.compiler.disable
    def _mix(self, inputs: Tensor, data_samples: list) -> Mix:
        labels = batch_labels(data_samples)
        if self.mixer is None or not self.training:
            return Mix.unmixed(inputs, labels)
        return self.mixer(inputs, labels)
