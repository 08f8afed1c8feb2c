"""The data preprocessor, which checks labels and collects them in one tensor.

Shapes: ``B`` batch, ``K`` classes, ``H, W`` pixels.
"""

from collections.abc import Callable
from typing import Any

import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from torch import Tensor

from mmtlalign.device import stack_to_device, to_device
from mmtlalign.errors import InputError
from mmtlalign.methods import batch_fields
from mmtlalign.registry import MODELS


@MODELS.register_module()
class MixDataPreprocessor(ClsDataPreprocessor):
    """mmpretrain's preprocessor, with checked labels in one tensor for mixing.

    On a GPU a label out of range would stop the process with a device assert that names
    neither the value nor the image; the error raised here names both. In training,
    images of equal size are copied to the device as one tensor, and so are the labels.
    The labels of the batch (B, K), float32, are stored in the field ``batch_labels`` of
    its first sample, where :class:`MixClassifier` reads them; the samples keep their
    own labels.

    Args:
        num_classes (int): Number of classes K.
        **kwargs: As in mmpretrain's ``ClsDataPreprocessor``.

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
        if kwargs.get('batch_augments') is not None:
            raise InputError(
                'batch_augments of MixDataPreprocessor would mix nothing: use '
                'mmtlalign.MixClassifier and move the augments to its train_cfg.'
            )
        kwargs['to_onehot'] = True
        super().__init__(num_classes=num_classes, **kwargs)

    # Set by MixClassifier, which mixes in place of the preprocessor.
    on_switch: Callable[[Any], None] | None = None

    @property
    def batch_augments(self) -> None:
        """None: the preprocessor does not mix."""
        return None

    @batch_augments.setter
    def batch_augments(self, augments: Any) -> None:
        """Pass on the augments that mmpretrain's ``SwitchRecipeHook`` sets."""
        if self.on_switch is not None:
            self.on_switch(augments)

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
        batch_fields.store(samples, batch_fields.LABELS, self._labels(samples))
        return dict(inputs=images['inputs'], data_samples=samples)

    def _send(self, images: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        """Copy images to the device, as (B, 3, H, W) if they have the same size."""
        if torch.is_tensor(images):
            return to_device(images, self.device)
        if len({(image.shape, image.dtype) for image in images}) == 1:
            return stack_to_device(images, self.device)
        return [to_device(image, self.device) for image in images]

    def _labels(self, samples: list) -> Tensor:
        """Collect the labels (B, K) on the device; each class of an image is 1."""
        given = [sample.get('gt_score') for sample in samples]
        if not any(score is None for score in given):
            return stack_to_device(given, self.device).float()
        labels = [sample.gt_label for sample in samples]
        classes = to_device(torch.cat(labels), self.device)
        # Images of a multi-label data set have any number of classes, also none.
        counts = torch.tensor([len(label) for label in labels])
        images = torch.arange(len(labels)).repeat_interleave(counts)
        found = torch.zeros(len(samples), self.num_classes, device=self.device)
        return found.index_put_(
            (to_device(images, self.device), classes), found.new_ones(())
        )

    def _checked(self, samples: list | None) -> list:
        """Return the samples of a batch, after checking that labels can be mixed."""
        if samples is None:
            raise InputError(
                'The batch has no data_samples: training needs labels; end the '
                "pipeline with dict(type='PackInputs')."
            )
        labels = [s.get('gt_label') for s in samples if 'gt_score' not in s]
        # All labels are checked at once, and one by one only to find a wrong one.
        if not labels:
            return samples
        if len(labels) < len(samples):
            raise InputError(
                f'{len(labels)} of {len(samples)} images of a batch have no gt_score: '
                'give all images soft labels (gt_score) or none.'
            )
        unknown = any(label is None for label in labels)
        if not unknown and not self._is_wrong(torch.cat(labels)):
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
            if self._is_wrong(label):
                raise InputError(
                    f'Image {name} has label {label.tolist()}: labels must be from 0 '
                    f'to num_classes - 1 = {self.num_classes - 1}; correct the '
                    'annotation or num_classes.'
                )
        return samples

    def _is_wrong(self, labels: Tensor) -> bool:
        """Return whether a label is out of range."""
        return bool(((labels < 0) | (labels >= self.num_classes)).any())


def batch_labels(data_samples: list) -> Tensor:
    """Return the labels (B, K) of a batch of data samples.

    They are those that :class:`MixDataPreprocessor` collected, else the ``gt_score`` of
    each sample.

    Raises:
        InputError: A sample has no soft label, or the batch is not the one that was
            preprocessed.
    """
    labels = batch_fields.load(data_samples, batch_fields.LABELS)
    if labels is not None:
        batch_fields.check_count(
            len(labels), data_samples, 'Labels', 'the data preprocessor'
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


def preprocessor_config(config: Any, head: Any) -> Any:
    """Return the preprocessor's config, with defaults taken from the head's config.

    Raises:
        InputError: The preprocessor mixes, or its number of classes is not the head's.
    """
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
            'mixed labels and scores need the same number of classes; set both to the '
            "data set's."
        )
    # mmpretrain's preprocessor makes soft labels only with this setting.
    config['to_onehot'] = True
    return config
