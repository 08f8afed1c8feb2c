"""Label maps of a batch: one tensor a field, stacked once, in the worker that read.

Fields of a sample, set by the pipeline and kept by ``PackInputs`` under
``algorithm_keys`` (the tokens' grid is h by w, row by row; k classes are named)::

    gt_label_map        (K, h, w) of all classes, or (k, h, w) of those named in
    gt_label_map_index  (k, h, w) integers; below 0 where fewer than k are named
    gt_map_label        (K,) or (k,): what the map says of the whole crop, with
    gt_map_label_index  (k,)

Values are logits or probabilities, in any floating type, such as float16.

Label maps that data samples carry, as labels on the device of the network.

What their fields are: :mod:`mmtlalign.methods.token_labeling.targets`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from mmengine.dataset import default_collate
from torch import Tensor

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.loss import TopKLabels, smooth
from mmtlalign.registry import FUNCTIONS

MAP, LABEL = 'gt_label_map', 'gt_map_label'
FIELDS = (MAP, f'{MAP}_index', LABEL, f'{LABEL}_index')
AXES = {MAP: 3, LABEL: 1}
# Hosts hand on the data samples and nothing else (DistributedDataParallel makes a
# new list of them), so what is the batch's own travels in its first sample.
BATCH = 'batch_label_maps'


class StackedMap(NamedTuple):
    """A field of all samples of a batch.

    Attributes:
        values: (B, ...), zeros where a sample has no map.
        index: Its classes (B, ...), or None where all classes have values.
        present: Who has a map (B,), bool.
    """

    values: Tensor
    index: Tensor | None
    present: Tensor


@FUNCTIONS.register_module()
def collate_label_maps(batch: list[dict]) -> dict:
    """Collate images and samples, and stack the label maps, as a ``collate_fn``.

    In a ``train_dataloader`` it spares the training step its only loop over label
    maps, and the workers sending four small tensors for each image::

        collate_fn=dict(type='mmtlalign.collate_label_maps')

    Args:
        batch: What ``PackInputs`` made of each image.

    Returns:
        dict: As mmengine's ``default_collate`` gives it, images stacked; the maps are
        no longer in each sample.

    Raises:
        ValueError: The maps differ in shape or form; the image is named.
    """
    samples = [item['data_samples'] for item in batch]
    maps = {key: stack_map(samples, key) for key in AXES}
    for sample in samples:
        for field in FIELDS:
            sample.pop(field, None)
    samples[0].set_field(maps, BATCH)
    return default_collate(batch)


def batch_map(samples: list, key: str) -> StackedMap | None:
    """The maps of a batch, as collated or from its samples; None if none has any.

    Args:
        samples: B data samples.
        key: :data:`MAP` or :data:`LABEL`.

    Raises:
        ValueError: As :func:`collate_label_maps`.
    """
    if BATCH not in samples[0]:
        return stack_map(samples, key)
    found = samples[0].get(BATCH)[key]
    if found is not None and len(found.present) != len(samples):
        raise InputError(
            f'Label maps of {len(found.present)} images were collated, and the batch '
            f'has {len(samples)} now: split or join batches before '
            'collate_label_maps, or leave it out of the dataloader.'
        )
    return found


def stack_map(samples: list, key: str) -> StackedMap | None:
    """Stack the maps of samples; arguments and result as of :func:`batch_map`."""
    present = [key in sample for sample in samples]
    if not any(present):
        return None
    values = _stack(samples, key, present, AXES[key])
    index, ids = None, f'{key}_index'
    if ids in samples[present.index(True)]:
        index = _stack(samples, ids, present, AXES[key])
        if index.shape != values.shape or index.is_floating_point():
            raise InputError(
                f'{ids} is {index.dtype} {tuple(index.shape[1:])} and the values are '
                f'{tuple(values.shape[1:])} in each sample: each value needs one '
                'class, an integer.'
            )
    return StackedMap(values, index, torch.tensor(present))


def image_name(samples: list, index: int) -> str:
    """Path of an image, for messages."""
    return samples[index].get('img_path', f'number {index} of the batch')


def _stack(samples: list, key: str, present: list[bool], axes: int) -> Tensor:
    """A field of all samples (B, ...), zeros where a sample has no map."""
    tensors = {}
    for i in (i for i, there in enumerate(present) if there):
        if key not in samples[i]:
            raise InputError(
                f'Image {image_name(samples, i)} has no {key}, others of the batch '
                'do: all maps of a batch come in one form.'
            )
        tensors[i] = torch.as_tensor(samples[i].get(key))
    first = tensors[present.index(True)]
    for i, tensor in tensors.items():
        if tensor.ndim != axes or tensor.shape != first.shape:
            raise InputError(
                f'Image {image_name(samples, i)} has {key} of shape '
                f'{tuple(tensor.shape)}, the first of the batch {tuple(first.shape)}: '
                f'each has {axes} axes (classes{", rows, columns" * (axes > 1)}) and '
                'the same shape; pool maps to the token grid in the pipeline.'
            )
    none = torch.zeros_like(first)
    # Autocast on a CPU knows no float16 to stack.
    with torch.autocast('cpu', enabled=False):
        return torch.stack([tensors.get(i, none) for i in range(len(samples))])


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
            raise InputError(f'map_values={values!r}: choose one of {FORMS}.')
        if missing not in ('error', 'hard label'):
            raise InputError(f"missing={missing!r}: choose 'error' or 'hard label'.")
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
            raise InputError(
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
            raise InputError(
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
            raise InputError(
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
