"""Label maps of a batch: collated in the worker, read as soft labels in the head.

Fields of a sample, set by the pipeline and kept by ``PackInputs`` under
``algorithm_keys`` (the tokens' grid is h by w, row by row; k classes are stored)::

    gt_label_map        (K, h, w) of all classes, or (k, h, w) of those listed in
    gt_label_map_index  (k, h, w) integers; negative for unused ones
    gt_map_label        (K,) or (k,): the map's label of the whole crop, with
    gt_map_label_index  (k,)

Values are logits or probabilities, in any floating type, such as float16.

Shapes: ``B`` batch, ``K`` classes, ``N`` image tokens, ``k`` stored classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from mmengine.dataset import default_collate
from torch import Tensor

from mmtlalign.device import to_device
from mmtlalign.errors import InputError
from mmtlalign.methods import batch_fields
from mmtlalign.methods.token_labeling.loss import (
    TopKLabels,
    smooth_soft_labels_official,
)
from mmtlalign.registry import FUNCTIONS

MAP, LABEL = 'gt_label_map', 'gt_map_label'
FIELDS = (MAP, f'{MAP}_index', LABEL, f'{LABEL}_index')
AXES = {MAP: 3, LABEL: 1}
FORMS = ('logits', 'probabilities')


class StackedMap(NamedTuple):
    """A field of all samples of a batch.

    Attributes:
        values: (B, ...), zeros where a sample has no map.
        index: Classes of the values (B, ...), or None if all classes have values.
        present: Which samples have a map (B,), bool; from :meth:`SampleMaps.read`
            None if all have one.
    """

    values: Tensor
    index: Tensor | None  # type: ignore[assignment]  # hides tuple.index
    present: Tensor | None


@dataclass(frozen=True)
class MixedTokens:
    """Origin of the tokens of a mixed batch.

    Attributes:
        grid: Token rows and columns.
        share: Share of the partner image in each token (B, N).
        source: Index of the partner's token that each token shows (B, N); None: that at
            the same position.
    """

    grid: tuple[int, int]
    share: Tensor
    source: Tensor | None = field(default=None, kw_only=True)


@FUNCTIONS.register_module()
def collate_label_maps(batch: list[dict]) -> dict:
    """Collate images and samples, and stack the label maps, as a ``collate_fn``.

    In a ``train_dataloader`` it saves a loop over label maps in the training step, and
    the transfer of four small tensors per image from the workers::

        collate_fn=dict(type='mmtlalign.collate_label_maps')

    Args:
        batch: Outputs of ``PackInputs`` for each image.

    Returns:
        As from mmengine's ``default_collate``, with images stacked; the maps are
        removed from the single samples.

    Raises:
        InputError: The maps differ in shape or form; the message names the image.
    """
    samples = [item['data_samples'] for item in batch]
    maps = {key: stack_map(samples, key) for key in AXES}
    for sample in samples:
        for name in FIELDS:
            sample.pop(name, None)
    batch_fields.store(samples, batch_fields.LABEL_MAPS, maps)
    return default_collate(batch)


def batch_map(samples: list, key: str) -> StackedMap | None:
    """Return the maps of a batch, as collated or from its samples; None without maps.

    Args:
        samples: B data samples.
        key: :data:`MAP` or :data:`LABEL`.

    Raises:
        InputError: The maps differ in shape or form, or the batch is not the one
            that was collated.
    """
    maps = batch_fields.load(samples, batch_fields.LABEL_MAPS)
    if maps is None:
        return stack_map(samples, key)
    if maps[key] is not None:
        batch_fields.check_count(
            len(maps[key].values), samples, 'Label maps', 'collate_label_maps'
        )
    return maps[key]


def stack_map(samples: list, key: str) -> StackedMap | None:
    """Stack the maps of B samples; return None if none has a map.

    Args:
        samples: B data samples.
        key: :data:`MAP` or :data:`LABEL`.

    Raises:
        InputError: The maps differ in shape or form; the message names the image.
    """
    present = [key in sample for sample in samples]
    if not any(present):
        return None
    values = _stack(samples, key, present, AXES[key])
    index, index_key = None, f'{key}_index'
    if index_key in samples[present.index(True)]:
        index = _stack(samples, index_key, present, AXES[key])
        if index.shape != values.shape or index.is_floating_point():
            raise InputError(
                f'{index_key} is {index.dtype} {tuple(index.shape[1:])} and the values '
                f'are {tuple(values.shape[1:])} in each sample: each value needs one '
                'class, an integer.'
            )
    return StackedMap(values, index, torch.tensor(present))


def _stack(samples: list, key: str, present: list[bool], axes: int) -> Tensor:
    """Stack a field of all samples (B, ...), zeros where a sample has no map."""
    tensors = {}
    for i in (i for i, there in enumerate(present) if there):
        if key not in samples[i]:
            raise InputError(
                f'Image {_image_name(samples, i)} has no {key}, but others of the '
                'batch do: all label maps of a batch must have the same form.'
            )
        tensors[i] = torch.as_tensor(samples[i].get(key))
    first = tensors[present.index(True)]
    for i, tensor in tensors.items():
        if tensor.ndim != axes or tensor.shape != first.shape:
            raise InputError(
                f'Image {_image_name(samples, i)} has {key} of shape '
                f'{tuple(tensor.shape)}, the first of the batch {tuple(first.shape)}: '
                f'each has {axes} axes (classes{", rows, columns" * (axes > 1)}) and '
                'the same shape; pool maps to the token grid in the pipeline.'
            )
    none = torch.zeros_like(first)
    # Autocast on a CPU cannot stack float16.
    with torch.autocast('cpu', enabled=False):
        return torch.stack([tensors.get(i, none) for i in range(len(samples))])


def _image_name(samples: list, index: int) -> str:
    """Return the path of an image, for messages."""
    return samples[index].get('img_path', f'number {index} of the batch')


class SampleMaps:
    """Reader of a batch's maps as soft labels on the device of the network.

    Args:
        num_classes: Number of classes K of the head.
        values: ``'logits'``, as in stored maps, where classes that are not stored have
            0; or ``'probabilities'``, where these classes share the remainder to 1.
        missing: Handling of a missing map: ``'error'`` raises an error, ``'hard
            label'`` uses the label of the image.
        smoothing: Smoothing of the maps' labels, as in
            :func:`smooth_soft_labels_official`.
        without: How to train without maps, for messages.

    Raises:
        InputError: A setting is invalid.
    """

    def __init__(
        self,
        num_classes: int,
        values: str,
        missing: str,
        smoothing: float,
        without: str = '',
    ):
        if values not in FORMS:
            raise InputError(f'map_values={values!r}: choose one of {FORMS}.')
        if missing not in ('error', 'hard label'):
            raise InputError(f"missing={missing!r}: choose 'error' or 'hard label'.")
        self.num_classes = num_classes
        self.values = values
        self.missing = missing
        self.smoothing = smoothing
        self.without = without

    def tokens(
        self,
        samples: list,
        labels: Tensor,
        check_grid: Callable[[tuple[int, int]], None],
    ) -> Tensor | TopKLabels:
        """Return the soft labels of the tokens of each image.

        Args:
            samples: B data samples.
            labels: Smoothed labels of the images (B, K).
            check_grid: Called with rows and columns of the maps; raises InputError.

        Returns:
            (B, N, K) or :class:`TopKLabels` (B, N); (B, 1, K) without any map.

        Raises:
            InputError: Maps are missing, or have other classes.
        """
        stacked = self.read(samples, MAP, labels.device)
        if stacked is None:
            return labels[:, None]
        check_grid(tuple(stacked.values.shape[-2:]))
        # (B, k, h, w) to one label for each token, (B, N, k).
        values, index = stacked.values.flatten(2).mT, stacked.index
        if index is not None:
            index = index.flatten(2).mT
        return self._soft_labels(values, index, stacked.present, labels[:, None])

    def whole(self, samples: list, labels: Tensor) -> Tensor:
        """Return the maps' label of each whole image (B, K).

        Arguments and errors as in :meth:`tokens`.
        """
        stacked = self.read(samples, LABEL, labels.device)
        if stacked is None:
            return labels
        target = self._soft_labels(*stacked, labels)
        return target if stacked.index is None else target.dense(self.num_classes)

    def _soft_labels(
        self,
        values: Tensor,
        index: Tensor | None,
        present: Tensor | None,
        labels: Tensor,
    ) -> Tensor | TopKLabels:
        """Return the labels of the maps, and the hard labels of images without one."""
        if index is None:
            probabilities = values.to(labels.dtype)
            if self.values == 'logits':
                probabilities = probabilities.softmax(dim=-1)
            target = smooth_soft_labels_official(
                probabilities, self.smoothing, self.num_classes
            )
            return target if present is None else _where(present, target, labels)
        make = getattr(TopKLabels, f'from_{self.values}')
        target = make(values, index, self.num_classes)
        target = target.smoothed(self.smoothing, self.num_classes)
        if present is None:
            return target
        top = labels.topk(index.shape[-1], dim=-1)
        hard = TopKLabels.from_probabilities(top.values, top.indices, self.num_classes)
        return TopKLabels(
            _where(present, target.excess, hard.excess),
            _where(present, target.indices, hard.indices),
            _where(present, target.rest, hard.rest),
        )

    def read(self, samples: list, key: str, device: torch.device) -> StackedMap | None:
        """Copy maps to a device.

        Args:
            samples: B data samples.
            key: :data:`MAP` or :data:`LABEL`.
            device: Device of the result.

        Returns:
            The maps, with ``present`` None if all samples have one; None without maps.

        Raises:
            InputError: Maps are missing, or have other classes.
        """
        stacked = batch_map(samples, key)
        present = None if stacked is None else stacked.present
        count = 0 if present is None else int(present.sum())
        if count < len(samples) and self.missing == 'error':
            first = int(present.byte().argmin()) if present is not None else 0
            raise InputError(
                f'Image {_image_name(samples, first)} has no {key} (missing for '
                f'{len(samples) - count} of {len(samples)} images of the batch): load '
                "label maps in the pipeline and end it with dict(type='PackInputs', "
                f"algorithm_keys={FIELDS}), or set missing='hard label' in the "
                f'head{self.without}.'
            )
        if stacked is None or not count:
            return None
        values, index = stacked.values, stacked.index
        if index is not None:
            self._check_index(index, f'{key}_index')
        elif values.shape[1] != self.num_classes:
            raise InputError(
                f'{key} has {values.shape[1]} classes and the head '
                f'num_classes={self.num_classes}: use maps of the same classes, or '
                f'give the class of each value in {key}_index.'
            )
        return StackedMap(
            to_device(values, device),
            None if index is None else to_device(index, device),
            None if count == len(samples) else to_device(present, device),
        )

    def _check_index(self, index: Tensor, index_key: str) -> None:
        # Checked only on the CPU: on a GPU the check would synchronise.
        if index.device.type == 'cpu' and int(index.max()) >= self.num_classes:
            raise InputError(
                f'{index_key} holds class {int(index.max())}, but the head has '
                f'num_classes={self.num_classes}: use maps of an annotator with the '
                "data set's classes, or correct num_classes."
            )


def _where(present: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(present.view(-1, *[1] * (yes.ndim - 1)), yes, no)
