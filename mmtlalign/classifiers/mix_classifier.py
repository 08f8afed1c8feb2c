"""The one classifier that connects a batch augment with a head."""

import torch
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.models.heads import ClsHead
from torch import Tensor

from ..mixing import Mix
from ..registry import MODELS
from .batch_mixer import BatchMixer
from .data_preprocessor import BATCH


@MODELS.register_module()
class MixClassifier(ImageClassifier):
    """An ``ImageClassifier`` that remembers how it mixed a batch.

    Mixing happens in :meth:`loss` rather than in the data preprocessor, where
    mmpretrain does it: the record of the mixing has to be at hand when the
    head reads what the backbone did with the tokens. A head of this package
    says what to watch during the forward and computes the loss from it; any
    other head gets the ordinary target, mixed by area. Backbone, state dict
    and inference are those of ``ImageClassifier``.

    Args:
        train_cfg: ``augments`` and ``probs`` as in mmpretrain; see
            :class:`BatchMixer`. Defaults to None: no mixing.
        data_preprocessor: As in ``ImageClassifier``, with its ``num_classes``
            equal to the head's. The type defaults to ``MixDataPreprocessor``.
        **kwargs: ``backbone``, ``neck``, ``head``, ``pretrained`` and
            ``init_cfg`` as in ``ImageClassifier``.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        **kwargs,
    ):
        super().__init__(
            backbone,
            head=head,
            data_preprocessor=_preprocessor(data_preprocessor, head),
            **kwargs,
        )
        self.mixer = _mixer(train_cfg)
        if self.mixer is not None and getattr(self.head, 'needs_record', False):
            self.mixer.check_records(type(self.head).__name__)
        self.watches = hasattr(self.head, 'watch')
        if self.watches:
            self.head.attach(self.backbone)
            if hasattr(self.neck, 'check'):
                self.neck.check(self.backbone)

    def loss(self, inputs: Tensor, data_samples: list) -> dict:
        """Mix, run the network, and let the head compute the loss.

        Args:
            inputs: Images (B, 3, H, W).
            data_samples: B data samples, as of :class:`MixDataPreprocessor`, or each
                with ``gt_score`` (K,).

        Returns:
            dict[str, Tensor]: As of the head.
        """
        mix = self._mix(inputs, data_samples)
        if not self.watches:
            with mix.inside(self.backbone):
                feats = self.extract_feat(mix.images)
            return self._plain_loss(feats, data_samples, mix.target(mix.area()))
        watched = self.head.watch(self.backbone, mix, data_samples)
        with mix.inside(self.backbone), watched as seen:
            feats = self.extract_feat(mix.images)
        return self.head.loss(feats, data_samples, mix, seen)

    def _plain_loss(self, feats: tuple, data_samples: list, target: Tensor) -> dict:
        """Loss of a head of the hosts, to a target (B, K)."""
        kind = type(self.head)
        stock = kind.loss is ClsHead.loss and kind._get_loss is ClsHead._get_loss
        if stock and not self.head.cal_acc:
            # As there, without taking the target apart and putting it together.
            scores = self.head(feats)
            loss = self.head.loss_module(scores, target, avg_factor=len(scores))
            return dict(loss=loss)
        for sample, score in zip(data_samples, target):
            sample.set_gt_score(score)
        return self.head.loss(feats, data_samples)

    # Draws of NumPy and samples are nothing to compile: the network is.
    @torch.compiler.disable
    def _mix(self, inputs: Tensor, data_samples: list) -> Mix:
        labels = batch_labels(data_samples)
        if self.mixer is None or not self.training:
            return Mix.unmixed(inputs, labels)
        return self.mixer(inputs, labels)


def batch_labels(data_samples: list) -> Tensor:
    """Labels of a batch (B, K): one tensor, or else of B data samples.

    Raises:
        ValueError: A sample has no soft label, or the batch is not the one that was
            preprocessed.
    """
    if BATCH in data_samples[0]:
        labels = data_samples[0].get(BATCH)
        if len(labels) != len(data_samples):
            raise ValueError(
                f'Labels of {len(labels)} images for a batch of {len(data_samples)}: '
                'it was split or joined behind the data preprocessor; do so before.'
            )
        return labels
    missing = [i for i, s in enumerate(data_samples) if 'gt_score' not in s]
    if missing:
        raise ValueError(
            f'Samples {missing} of the batch have no gt_score: mixing needs soft '
            'labels; use data_preprocessor=dict(num_classes=...) without a type, '
            'or set to_onehot=True in your own.'
        )
    return torch.stack([sample.gt_score for sample in data_samples]).float()


def _mixer(train_cfg: dict | None) -> BatchMixer | None:
    if train_cfg is None:
        return None
    unknown = sorted(set(train_cfg) - {'augments', 'probs'})
    if unknown or 'augments' not in train_cfg:
        raise ValueError(
            f'train_cfg has the keys {sorted(train_cfg)}: MixClassifier reads '
            "'augments' (needed) and 'probs'."
        )
    return BatchMixer(**train_cfg)


def _preprocessor(config, head):
    if config is not None and not isinstance(config, dict):
        return config
    config = dict(config or {})
    config.setdefault('type', 'mmtlalign.MixDataPreprocessor')
    if config.get('batch_augments') is not None:
        raise ValueError(
            'data_preprocessor.batch_augments would mix the batch before '
            'MixClassifier mixes it: move the augments to train_cfg.'
        )
    wanted = head.get('num_classes') if isinstance(head, dict) else head.num_classes
    given = config.setdefault('num_classes', wanted)
    if given != wanted:
        raise ValueError(
            f'data_preprocessor.num_classes={given} but head.num_classes={wanted}: '
            'the labels that are mixed need the width of the head; set both to the '
            "data set's number of classes."
        )
    # A stock preprocessor makes soft labels only when it is told to.
    config['to_onehot'] = True
    return config
