"""Label maps of a batch: one tensor a field, stacked once, in the worker that read.

Fields of a sample, set by the pipeline and kept by ``PackInputs`` under
``algorithm_keys`` (the tokens' grid is h by w, row by row; k classes are named)::

    gt_label_map        (K, h, w) of all classes, or (k, h, w) of those named in
    gt_label_map_index  (k, h, w) integers; below 0 where fewer than k are named
    gt_map_label        (K,) or (k,): what the map says of the whole crop, with
    gt_map_label_index  (k,)

Values are logits or probabilities, in any floating type, such as float16.
"""

from typing import NamedTuple

import torch
from mmengine.dataset import default_collate
from torch import Tensor

from ..registry import FUNCTIONS

__all__ = ['FIELDS', 'LABEL', 'MAP', 'StackedMap', 'batch_map', 'collate_label_maps']

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
        raise ValueError(
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
            raise ValueError(
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
            raise ValueError(
                f'Image {image_name(samples, i)} has no {key}, others of the batch '
                'do: all maps of a batch come in one form.'
            )
        tensors[i] = torch.as_tensor(samples[i].get(key))
    first = tensors[present.index(True)]
    for i, tensor in tensors.items():
        if tensor.ndim != axes or tensor.shape != first.shape:
            raise ValueError(
                f'Image {image_name(samples, i)} has {key} of shape '
                f'{tuple(tensor.shape)}, the first of the batch {tuple(first.shape)}: '
                f'each has {axes} axes (classes{", rows, columns" * (axes > 1)}) and '
                'the same shape; pool maps to the token grid in the pipeline.'
            )
    none = torch.zeros_like(first)
    # Autocast on a CPU knows no float16 to stack.
    with torch.autocast('cpu', enabled=False):
        return torch.stack([tensors.get(i, none) for i in range(len(samples))])
