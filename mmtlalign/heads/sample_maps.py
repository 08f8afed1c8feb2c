"""Label maps that data samples carry, as one batch on the device of the network.

Fields of a sample, set by the pipeline and kept by ``PackInputs`` under
``algorithm_keys`` (the tokens' grid is h by w, row by row; k classes are named)::

    gt_label_map        (K, h, w) of all classes, or (k, h, w) of those named in
    gt_label_map_index  (k, h, w) integers; below 0 where fewer than k are named
    gt_map_label        (K,) or (k,): what the map says of the whole crop, with
    gt_map_label_index  (k,)

Values are logits or probabilities, in any floating type, such as float16.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .token_label_loss import TopKLabels, smooth

MAP, LABEL = 'gt_label_map', 'gt_map_label'
FIELDS = (MAP, f'{MAP}_index', LABEL, f'{LABEL}_index')
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
        found = self._read(samples, MAP, labels, 3)
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
        found = self._read(samples, LABEL, labels, 1)
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

    def _read(self, samples, key, labels, ndim):
        """Values, classes or None for all, who has any or None for all of them."""
        here = [key in sample for sample in samples]
        if not all(here) and self.missing == 'error':
            raise ValueError(
                f'Image {_name(samples, here.index(False))} has no {key}, and '
                f'{here.count(False)} of {len(samples)} of the batch: load label maps '
                "in the pipeline and end it with dict(type='PackInputs', "
                f"algorithm_keys={FIELDS}), or set missing='hard label' in the "
                'head, or train without maps: dense_weight=0 in its loss and '
                "class_target='label'."
            )
        if not any(here):
            return None
        values = _stack(samples, key, here, ndim)
        index, ids = None, f'{key}_index'
        if ids in samples[here.index(True)]:
            index = _stack(samples, ids, here, ndim)
            self._check_index(index, values, ids)
        elif values.shape[1] != self.num_classes:
            raise ValueError(
                f'{key} has {values.shape[1]} classes and the head num_classes='
                f'{self.num_classes}: use maps of the same classes, or name which '
                f'they are in {ids}.'
            )
        device = labels.device
        return (
            _move(values, device),
            None if index is None else _move(index, device),
            None if all(here) else _move(torch.tensor(here), device),
        )

    def _check_index(self, index: Tensor, values: Tensor, ids: str) -> None:
        if index.shape != values.shape or index.is_floating_point():
            raise ValueError(
                f'{ids} is {index.dtype} {tuple(index.shape[1:])} and the values are '
                f'{tuple(values.shape[1:])} in each sample: each value needs one '
                'class, an integer.'
            )
        # Looked at where it costs nothing: a GPU would have to be waited for.
        if index.device.type == 'cpu' and int(index.max()) >= self.num_classes:
            raise ValueError(
                f'{ids} holds class {int(index.max())}, but the head has num_classes='
                f"{self.num_classes}: use maps of an annotator with the data set's "
                'classes, or correct num_classes.'
            )


def _stack(samples: list, key: str, here: list[bool], ndim: int) -> Tensor:
    """A field of all samples (B, ...), zeros where a sample has no map."""
    present = [i for i, there in enumerate(here) if there]
    tensors = {}
    for i in present:
        if key not in samples[i]:
            raise ValueError(
                f'Image {_name(samples, i)} has no {key}, others of the batch do: all '
                'maps of a batch come in one form.'
            )
        tensors[i] = torch.as_tensor(samples[i].get(key))
    first = tensors[present[0]]
    for i, tensor in tensors.items():
        if tensor.ndim != ndim or tensor.shape != first.shape:
            raise ValueError(
                f'Image {_name(samples, i)} has {key} of shape '
                f'{tuple(tensor.shape)}, the first of the batch {tuple(first.shape)}: '
                f'each has {ndim} axes (classes{", rows, columns" * (ndim > 1)}) and '
                'the same shape; pool maps to the token grid in the pipeline.'
            )
    none = torch.zeros_like(first)
    # Autocast on a CPU knows no float16 to stack.
    with torch.autocast('cpu', enabled=False):
        return torch.stack([tensors.get(i, none) for i in range(len(samples))])


def _name(samples: list, index: int) -> str:
    return samples[index].get('img_path', f'number {index} of the batch')


def _where(here: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(here.view(-1, *[1] * (yes.ndim - 1)), yes, no)


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        # From pageable memory the copy may wait for the work under way.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
