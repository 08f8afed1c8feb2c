"""Base class of metrics that are computed from values of single images.

Values are kept on the CPU. A metric then does not depend on the batch size and counts
no image twice where several processes fill up their last batches.

Shapes: ``B`` images of a batch, ``K`` classes, ``L`` most labels of an image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmtlalign.datasets.imagenet_classes import subset_indices
from mmtlalign.errors import InputError
from mmtlalign.evaluation.accuracy import NO_LABEL, restrict


class ImageMetric(BaseMetric):
    """Metric that is computed from values of single images.

    Args:
        which: Subset of ImageNet, ``'a'``, ``'r'`` or ``'o'``, to whose classes the
            model's choice is restricted.
        classes: Indices of these classes in place of ``which``.
        **kwargs: As in mmengine's ``BaseMetric``.

    Attributes:
        per_image: After the evaluation, values of all images by name, in the order of
            the data set.

    Raises:
        InputError: Both ``which`` and ``classes`` are given.
    """

    def __init__(
        self,
        which: str | None = None,
        classes: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if which is not None and classes is not None:
            raise InputError(
                f'which={which!r} names the classes of {type(self).__name__} already; '
                'leave classes out'
            )
        self.classes = subset_indices(which) if which is not None else classes
        self.per_image: dict[str, np.ndarray] = {}

    def values(
        self, scores: Tensor, labels: Tensor, samples: Sequence[dict]
    ) -> dict[str, Any]:
        """Return the values of the images of a batch, by name.

        Args:
            scores: Log-probabilities (B, K).
            labels: (B, L), -1 where there is none.
            samples: Data samples of the images.
        """
        raise NotImplementedError

    def figures(self, values: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the metric from the values of all images."""
        raise NotImplementedError

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Store the values of a batch."""
        if any('pred_score' not in sample for sample in data_samples):
            raise InputError(
                f'{type(self).__name__} reads pred_score, the probabilities of all '
                'classes, which this model does not return; use a classifier'
            )
        probability = torch.stack([s['pred_score'] for s in data_samples]).cpu()
        scores = probability.double().clamp_min(1e-45).log()
        none = torch.empty(0, dtype=torch.long)
        own = [sample.get('gt_label', none).cpu() for sample in data_samples]
        # One more label, so that there is at least one column.
        labels = [torch.cat([label, label.new_tensor([NO_LABEL])]) for label in own]
        padded = pad_sequence(labels, batch_first=True, padding_value=NO_LABEL)
        values = self.values(scores, padded, data_samples)
        columns = [np.asarray(column).tolist() for column in values.values()]
        self.results += [dict(zip(values, row)) for row in zip(*columns)]

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Return the metric, and store the values of all images."""
        self.per_image = {
            name: np.array([one[name] for one in results]) for name in results[0]
        }
        return self.figures(self.per_image)

    def restricted(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores of the classes to choose from, and the labels among them.

        Raises:
            InputError: The model has other classes, or a label is not one of them.
        """
        if self.classes is None:
            return scores, labels
        if max(self.classes) >= scores.shape[1]:
            raise InputError(
                f'{type(self).__name__} compares classes up to {max(self.classes)}, '
                f'but the model has {scores.shape[1]} classes; use a model trained on '
                'ImageNet-1k, or other classes'
            )
        return restrict(scores, labels, self.classes)

    def single(self, labels: Tensor) -> Tensor:
        """Return the one label (B,) of each image.

        Raises:
            InputError: One has none, or several.
        """
        count = (labels != NO_LABEL).sum(1)
        if (count != 1).any():
            raise InputError(
                f'{type(self).__name__} needs one label per image, but an image has '
                f'{int(count[count != 1][0])}; use mmtlalign.ReaLAccuracy for several '
                'labels, mmtlalign.OutOfDistribution for none'
            )
        return labels.max(1).values
