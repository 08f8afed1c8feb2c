"""mmpretrain's preprocessor with labels checked while they are on the CPU."""

import torch
from mmpretrain.models.utils import ClsDataPreprocessor

from ..registry import MODELS


@MODELS.register_module()
class MixDataPreprocessor(ClsDataPreprocessor):
    """One-hot labels for mixing, each checked and its image named if wrong.

    On a GPU a label out of range would stop the process with a device assert
    that names neither the value nor the image. Arguments as in mmpretrain's
    ``ClsDataPreprocessor``; ``num_classes`` is needed.
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
        """Arguments and output as in ``ClsDataPreprocessor``."""
        if training:
            self._check(data.get('data_samples'))
        return super().forward(data, training)

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
