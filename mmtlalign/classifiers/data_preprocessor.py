"""mmpretrain's preprocessor with a batch's labels as one tensor, checked on the CPU."""

import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from torch import Tensor

from ..mixing.transfer import send, send_stacked
from ..registry import MODELS

# Hosts hand on the data samples and nothing else (DistributedDataParallel makes a
# new list of them), so what is the batch's own travels in its first sample.
BATCH = 'batch_labels'


@MODELS.register_module()
class MixDataPreprocessor(ClsDataPreprocessor):
    """One-hot labels for mixing, each checked and its image named if wrong.

    On a GPU a label out of range would stop the process with a device assert
    that names neither the value nor the image. In training, images of one size and
    labels each go to the device in one piece, without a loop over images: labels of
    the batch (B, K), float32, are the field ``batch_labels`` of its first sample, where
    :class:`MixClassifier` finds them; the samples keep their own. Arguments as in
    mmpretrain's ``ClsDataPreprocessor``; ``num_classes`` is needed.
    """

    def __init__(self, num_classes: int | None = None, **kwargs):
        if num_classes is None:
            raise ValueError(
                'num_classes=None in the data preprocessor: mixing needs one-hot '
                'labels, so set data_preprocessor=dict(num_classes=...) to the '
                "head's number of classes."
            )
        kwargs['to_onehot'] = True
        super().__init__(num_classes=num_classes, **kwargs)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Arguments and output as in ``ClsDataPreprocessor``, but for the labels."""
        if not training:
            return super().forward(data, training)
        samples = data.get('data_samples')
        self._check(samples)
        images = super().forward(dict(inputs=self._send(data['inputs'])), training)
        samples[0].set_field(self._labels(samples), BATCH)
        return dict(inputs=images['inputs'], data_samples=samples)

    def _send(self, images: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        """Images on the device, (B, 3, H, W) where they are of one size."""
        if torch.is_tensor(images):
            return send(images, self.device)
        if len({(image.shape, image.dtype) for image in images}) == 1:
            return send_stacked(images, self.device)
        return [send(image, self.device) for image in images]

    def _labels(self, samples: list) -> Tensor:
        """Labels of the batch (B, K) on the device; several classes count alike."""
        given = [sample.get('gt_score') for sample in samples]
        if not any(score is None for score in given):
            return send_stacked(given, self.device).float()
        labels = [sample.gt_label for sample in samples]
        classes = send(torch.cat(labels), self.device)
        images = torch.arange(len(labels))
        if len(classes) > len(labels):
            images = images.repeat_interleave(torch.tensor([len(x) for x in labels]))
        found = torch.zeros(len(samples), self.num_classes, device=self.device)
        return found.index_put_(
            (send(images, self.device), classes), found.new_ones(())
        )

    def _check(self, samples) -> None:
        if samples is None:
            raise ValueError(
                'The batch has no data_samples: training needs labels; end the '
                "pipeline with dict(type='PackInputs')."
            )
        labels = [s.get('gt_label') for s in samples if 'gt_score' not in s]
        # All at once; one by one only where something is wrong.
        if not labels:
            return
        if len(labels) < len(samples):
            raise ValueError(
                f'{len(labels)} of {len(samples)} images of a batch have no gt_score: '
                'give all images soft labels (gt_score) or none.'
            )
        if not any(label is None for label in labels):
            every = torch.cat(labels)
            if every.min() >= 0 and every.max() < self.num_classes:
                return
        for index, sample in enumerate(samples):
            if 'gt_score' in sample:
                continue
            name = sample.get('img_path', f'number {index} of the batch')
            if 'gt_label' not in sample:
                raise ValueError(
                    f'Image {name} has no label: every training image needs gt_label '
                    'or gt_score; check the annotation file and the pipeline.'
                )
            label = sample.gt_label
            if label.min() < 0 or label.max() >= self.num_classes:
                raise ValueError(
                    f'Image {name} has label {label.tolist()}: labels lie between 0 '
                    f'and num_classes - 1 = {self.num_classes - 1}; correct the '
                    'annotation or num_classes.'
                )
