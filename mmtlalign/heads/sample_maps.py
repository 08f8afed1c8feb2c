"""Label maps that data samples carry, as labels on the device of the network.

What their fields are: :mod:`mmtlalign.heads.map_batch`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .map_batch import FIELDS, LABEL, MAP, batch_map, image_name
from .token_label_loss import TopKLabels, smooth

FORMS = ('logits', 'probabilities')


class SampleMaps:
    """Reads one field, and what stands in where a sample lacks it.

    Args:
        num_classes: K of the head.
        values: ``'logits'``, as in stored maps, where a class that is not named has
            0; or ``'probabilities'``, where those not named share what is missing
            to 1.
        missing: ``'error'``, or ``'hard label'``: the label of the image.
        smoothing: Smoothing of the maps' labels, as :func:`smooth`.
    """

    def __init__(self, num_classes: int, values: str, missing: str, smoothing: float):
        if values not in FORMS:
            raise ValueError(f'map_values={values!r}: choose one of {FORMS}.')
        if missing not in ('error', 'hard label'):
            raise ValueError(f"missing={missing!r}: choose 'error' or 'hard label'.")
        self.num_classes = num_classes
        self.values = values
        self.missing = missing
        self.smoothing = smoothing

    def tokens(
        self,
        samples: list,
        labels: Tensor,
        check_grid: Callable[[tuple[int, int]], None],
    ) -> Tensor | TopKLabels:
        """Soft labels of the tokens of each image.

        Args:
            samples: B data samples.
            labels: Labels of the images (B, K).
            check_grid: Called with rows and columns of the maps; raises ValueError.

        Returns:
            (B, N, K) or :class:`TopKLabels` (B, N); (B, 1, K) without any map.
        """
        found = self._read(samples, MAP, labels)
        if found is None:
            return labels[:, None]
        values, index, here = found
        check_grid(tuple(values.shape[-2:]))
        # (B, k, h, w) to one label for each token, (B, N, k).
        values = values.flatten(2).mT
        if index is not None:
            index = index.flatten(2).mT
        return self._filled(values, index, here, labels[:, None])

    def whole(self, samples: list, labels: Tensor) -> Tensor:
        """What the maps say of each image (B, K); arguments as of :meth:`tokens`."""
        found = self._read(samples, LABEL, labels)
        if found is None:
            return labels
        target = self._filled(*found, labels)
        return target.dense(self.num_classes) if found[1] is not None else target

    def _filled(self, values, index, here, labels) -> Tensor | TopKLabels:
        """Labels of the maps, and of the images that have none."""
        if index is None:
            probabilities = values.to(labels.dtype)
            if self.values == 'logits':
                probabilities = probabilities.softmax(dim=-1)
            target = smooth(probabilities, self.smoothing, self.num_classes)
            return target if here is None else _where(here, target, labels)
        make = getattr(TopKLabels, f'from_{self.values}')
        target = make(values, index, self.num_classes)
        target = target.smoothed(self.smoothing, self.num_classes)
        if here is None:
            return target
        hard = TopKLabels.from_probabilities(
            *labels.topk(index.shape[-1], dim=-1), self.num_classes
        )
        return TopKLabels(
            _where(here, target.excess, hard.excess),
            _where(here, target.indices, hard.indices),
            _where(here, target.rest, hard.rest),
        )

    def _read(self, samples, key, labels):
        """Values, classes or None for all, who has any or None for all of them."""
        found = batch_map(samples, key)
        count = 0 if found is None else int(found.present.sum())
        if count < len(samples) and self.missing == 'error':
            first = int(found.present.byte().argmin()) if count else 0
            raise ValueError(
                f'Image {image_name(samples, first)} has no {key}, and '
                f'{len(samples) - count} of {len(samples)} of the batch: load label '
                "maps in the pipeline and end it with dict(type='PackInputs', "
                f"algorithm_keys={FIELDS}), or set missing='hard label' in the "
                'head, or train without maps: dense_weight=0 in its loss and '
                "class_target='label'."
            )
        if not count:
            return None
        values, index, present = found
        if index is not None:
            self._check_index(index, f'{key}_index')
        elif values.shape[1] != self.num_classes:
            raise ValueError(
                f'{key} has {values.shape[1]} classes and the head num_classes='
                f'{self.num_classes}: use maps of the same classes, or name which '
                f'they are in {key}_index.'
            )
        device = labels.device
        return (
            _move(values, device),
            None if index is None else _move(index, device),
            None if count == len(samples) else _move(present, device),
        )

    def _check_index(self, index: Tensor, ids: str) -> None:
        # Looked at where it costs nothing: a GPU would have to be waited for.
        if index.device.type == 'cpu' and int(index.max()) >= self.num_classes:
            raise ValueError(
                f'{ids} holds class {int(index.max())}, but the head has num_classes='
                f"{self.num_classes}: use maps of an annotator with the data set's "
                'classes, or correct num_classes.'
            )


def _where(here: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(here.view(-1, *[1] * (yes.ndim - 1)), yes, no)


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        # From pageable memory the copy may wait for the work under way.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
