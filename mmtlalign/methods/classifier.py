"""The classifier that connects a batch augment with a head.

:class:`MixClassifier` mixes the batch (:class:`BatchMixer`), runs the network and lets
the head compute the loss; :class:`MixDataPreprocessor` gives it the labels of a batch.

Shapes: ``B`` batch, ``K`` classes, ``H, W`` pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.models.heads import ClsHead
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.registry import BATCH_AUGMENTS
from torch import Tensor

from mmtlalign.device import stack_to_device, to_device
from mmtlalign.errors import InputError
from mmtlalign.mixing.augments import BatchMix
from mmtlalign.mixing.mix import Mix
from mmtlalign.registry import MODELS

# Hosts hand on the data samples and nothing else (DistributedDataParallel makes a
# new list of them), so what is the batch's own travels in its first sample.
BATCH = 'batch_labels'


@MODELS.register_module()
class MixClassifier(ImageClassifier):
    """An ``ImageClassifier`` that keeps the record of how it mixed a batch.

    It mixes in :meth:`loss` rather than in the data preprocessor, where mmpretrain
    does: the record has to be at hand when the head reads what the backbone did with
    the tokens. A head of this package says what to read from the forward pass and
    computes the loss from it; any other head gets the ordinary target, mixed by area.
    Backbone, state dict and inference are those of ``ImageClassifier``.

    Args:
        backbone (dict): Config of the backbone.
        head (dict): Config of the head.
        train_cfg (dict, optional): ``augments`` and ``probs`` of :class:`BatchMixer`.
            Defaults to None: no mixing.
        data_preprocessor (dict, optional): Config of the preprocessor, with
            ``num_classes`` equal to the head's. Its type defaults to
            ``MixDataPreprocessor``.
        **kwargs: ``neck``, ``pretrained`` and ``init_cfg`` as in ``ImageClassifier``.

    Raises:
        UnsupportedError: The head traces, and the backbone cannot be traced.
        InputError: Head, backbone, neck, augments and preprocessor do not fit.
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
            data_preprocessor=_preprocessor(data_preprocessor, head),
            **kwargs,
        )
        self.mixer = _mixer(train_cfg)
        if self.mixer is not None and getattr(self.head, 'needs_record', False):
            self.mixer.check_records(type(self.head).__name__)
        self.traces = hasattr(self.head, 'trace')
        if self.traces:
            self.head.attach(self.backbone)
            if hasattr(self.neck, 'check'):
                self.neck.check(self.backbone)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Mix, run the network, and let the head compute the loss.

        Args:
            inputs: Images (B, 3, H, W).
            data_samples: B data samples from :class:`MixDataPreprocessor`, or each
                with ``gt_score`` (K,).

        Returns:
            Losses by name, as the head computes them.
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
        """Compute the loss of a head of the hosts, to a target (B, K)."""
        kind = type(self.head)
        stock = kind.loss is ClsHead.loss and kind._get_loss is ClsHead._get_loss
        if stock and not self.head.cal_acc:
            # The same loss without the detour over the samples.
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
    """Return the labels of a batch (B, K), preprocessed or of B data samples.

    Raises:
        InputError: A sample has no soft label, or the batch is not the one that was
            preprocessed.
    """
    if BATCH in data_samples[0]:
        labels = data_samples[0].get(BATCH)
        if len(labels) != len(data_samples):
            raise InputError(
                f'Labels of {len(labels)} images for a batch of {len(data_samples)}: '
                'it was split or joined behind the data preprocessor; do so before.'
            )
        return labels
    missing = [i for i, s in enumerate(data_samples) if 'gt_score' not in s]
    if missing:
        raise InputError(
            f'Samples {missing} of the batch have no gt_score: mixing needs soft '
            'labels; use data_preprocessor=dict(num_classes=...) without a type, '
            'or set to_onehot=True in your own.'
        )
    return torch.stack([sample.gt_score for sample in data_samples]).float()


def _mixer(train_cfg: dict | None) -> 'BatchMixer | None':
    """Make the mixer that ``train_cfg`` asks for."""
    if train_cfg is None:
        return None
    unknown = sorted(set(train_cfg) - {'augments', 'probs'})
    if unknown or 'augments' not in train_cfg:
        raise InputError(
            f'train_cfg has the keys {sorted(train_cfg)}: MixClassifier reads '
            "'augments' (needed) and 'probs'."
        )
    return BatchMixer(**train_cfg)


def _preprocessor(config: Any, head: Any) -> Any:
    """Return the config of the preprocessor, completed from the head's."""
    if config is not None and not isinstance(config, dict):
        return config
    config = dict(config or {})
    config.setdefault('type', 'mmtlalign.MixDataPreprocessor')
    if config.get('batch_augments') is not None:
        raise InputError(
            'data_preprocessor.batch_augments would mix the batch before '
            'MixClassifier mixes it: move the augments to train_cfg.'
        )
    wanted = head.get('num_classes') if isinstance(head, dict) else head.num_classes
    given = config.setdefault('num_classes', wanted)
    if given != wanted:
        raise InputError(
            f'data_preprocessor.num_classes={given} but head.num_classes={wanted}: '
            'the labels that are mixed need the width of the head; set both to the '
            "data set's number of classes."
        )
    # A stock preprocessor makes soft labels only when it is told to.
    config['to_onehot'] = True
    return config


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


@MODELS.register_module()
class MixDataPreprocessor(ClsDataPreprocessor):
    """mmpretrain's preprocessor with checked labels in one tensor for mixing.

    On a GPU a label out of range would stop the process with a device assert that names
    neither the value nor the image; here it is named. In training, images of one size
    and labels each go to the device in one piece. The labels of the batch (B, K),
    float32, are the field ``batch_labels`` of its first sample, where
    :class:`MixClassifier` finds them; the samples keep their own.

    Args:
        num_classes (int): Number of classes K.
        **kwargs: As of mmpretrain's ``ClsDataPreprocessor``.

    Raises:
        InputError: ``num_classes`` is missing.
    """

    def __init__(self, num_classes: int | None = None, **kwargs: Any):
        if num_classes is None:
            raise InputError(
                'num_classes=None in the data preprocessor: mixing needs one-hot '
                'labels, so set data_preprocessor=dict(num_classes=...) to the '
                "head's number of classes."
            )
        kwargs['to_onehot'] = True
        super().__init__(num_classes=num_classes, **kwargs)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise a batch and collect its labels.

        Args:
            data: ``inputs`` and ``data_samples`` of a batch.
            training: Whether the labels are needed as one tensor.

        Returns:
            ``inputs`` (B, 3, H, W) and ``data_samples``.

        Raises:
            InputError: A label is missing or out of range; the image is named.
        """
        if not training:
            return super().forward(data, training)
        samples = self._checked(data.get('data_samples'))
        images = super().forward(dict(inputs=self._send(data['inputs'])), training)
        samples[0].set_field(self._labels(samples), BATCH)
        return dict(inputs=images['inputs'], data_samples=samples)

    def _send(self, images: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        """Copy images to the device, (B, 3, H, W) where they are of one size."""
        if torch.is_tensor(images):
            return to_device(images, self.device)
        if len({(image.shape, image.dtype) for image in images}) == 1:
            return stack_to_device(images, self.device)
        return [to_device(image, self.device) for image in images]

    def _labels(self, samples: list) -> Tensor:
        """Collect the labels (B, K) on the device; several classes count alike."""
        given = [sample.get('gt_score') for sample in samples]
        if not any(score is None for score in given):
            return stack_to_device(given, self.device).float()
        labels = [sample.gt_label for sample in samples]
        classes = to_device(torch.cat(labels), self.device)
        images = torch.arange(len(labels))
        if len(classes) > len(labels):
            images = images.repeat_interleave(torch.tensor([len(x) for x in labels]))
        found = torch.zeros(len(samples), self.num_classes, device=self.device)
        return found.index_put_(
            (to_device(images, self.device), classes), found.new_ones(())
        )

    def _checked(self, samples: list | None) -> list:
        """Return the samples of a batch whose labels can be mixed."""
        if samples is None:
            raise InputError(
                'The batch has no data_samples: training needs labels; end the '
                "pipeline with dict(type='PackInputs')."
            )
        labels = [s.get('gt_label') for s in samples if 'gt_score' not in s]
        # All at once; one by one only where something is wrong.
        if not labels:
            return samples
        if len(labels) < len(samples):
            raise InputError(
                f'{len(labels)} of {len(samples)} images of a batch have no gt_score: '
                'give all images soft labels (gt_score) or none.'
            )
        if not any(label is None for label in labels):
            every = torch.cat(labels)
            if every.min() >= 0 and every.max() < self.num_classes:
                return samples
        for index, sample in enumerate(samples):
            if 'gt_score' in sample:
                continue
            name = sample.get('img_path', f'number {index} of the batch')
            if 'gt_label' not in sample:
                raise InputError(
                    f'Image {name} has no label: every training image needs gt_label '
                    'or gt_score; check the annotation file and the pipeline.'
                )
            label = sample.gt_label
            if label.min() < 0 or label.max() >= self.num_classes:
                raise InputError(
                    f'Image {name} has label {label.tolist()}: labels lie between 0 '
                    f'and num_classes - 1 = {self.num_classes - 1}; correct the '
                    'annotation or num_classes.'
                )
        return samples
