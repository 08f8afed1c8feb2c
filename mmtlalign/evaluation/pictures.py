"""Images before normalisation, each decoded once for all its versions.

Shapes: ``B`` batch, ``H, W`` pixels, ``V`` versions of an image.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from mmtlalign.errors import InputError
from mmtlalign.evaluation.accuracy import NO_LABEL

# Memory of one batch in a worker; an image has up to 75 corrupted versions.
BATCH_BYTES = 64 * 2**20
MOST_LABELS = 10  # of ImageNet ReaL, an image has up to 9

Version = Callable[[np.ndarray, int], np.ndarray]


class Batch(NamedTuple):
    """A batch of images before normalisation.

    Attributes:
        images: (B, 3, H, W), RGB; uint8 from the loader, float32 from 0 to 1 on the
            device.
        labels: Classes of each image (B, 10), int64, padded with :data:`NO_LABEL`.
        indices: Indices of the images in the data set.
        versions: Versions of the images from the workers (B, V, 3, H, W), uint8.
    """

    images: Tensor
    labels: Tensor
    indices: tuple[int, ...]
    versions: Tensor

    def to(self, device: torch.device | str) -> 'Batch':
        """Return the batch on a device, with images as float32 from 0 to 1."""
        images = to_float(self.images.to(device, non_blocking=True))
        labels = self.labels.to(device, non_blocking=True)
        return self._replace(images=images, labels=labels)


class Pictures(Dataset):
    """Images of a data set with the samples of mmpretrain's ``PackInputs``.

    Args:
        dataset: Returns dicts with ``inputs`` (3, H, W) uint8 and ``data_samples``.
        bgr: Whether its channels are in OpenCV's order, see :func:`is_bgr`.
        versions: Functions that compute a version of one image (H, W, 3) uint8 RGB,
            given also its index; they run in the workers.
    """

    def __init__(self, dataset: Any, bgr: bool, versions: Sequence[Version] = ()):
        self.dataset, self.bgr, self.versions = dataset, bgr, tuple(versions)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, list[int], int, Tensor]:
        sample = self.dataset[index]
        image = sample['inputs']
        if image.dtype != torch.uint8:
            raise InputError(
                f'The test pipeline gives images of {image.dtype}, but the evaluation '
                'needs uint8 pixels. Leave normalisation to the data preprocessor.'
            )
        image = image.flip(0) if self.bgr else image
        given = sample['data_samples']
        labels = given.gt_label.tolist() if 'gt_label' in given else []
        made = image.new_empty(0, *image.shape)
        if self.versions:
            array = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
            # A copy, as a function may write into its image.
            arrays = [make(array.copy(), index) for make in self.versions]
            made = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
        return image, labels, index, made


def is_bgr(dataset: Any) -> bool:
    """Return whether a data set gives B, G, R, as OpenCV reads files.

    mmpretrain's data sets that hold pixels instead of files, such as CIFAR, give R, G,
    B.
    """
    if not hasattr(dataset, 'get_data_info') or not len(dataset):
        return True
    return 'img' not in dataset.get_data_info(0)


def spread_indices(count: int, limit: int | None = None) -> list[int]:
    """Return the indices of at most ``limit`` of ``count`` images, evenly spread."""
    limit = min(limit or count, count)
    return [place * count // limit for place in range(limit)]


def to_float(images: Tensor) -> Tensor:
    """Return uint8 images as float32 from 0 to 1."""
    return images.float() / 255


def collate(samples: Sequence[tuple]) -> Batch:
    """Collate samples of :class:`Pictures` to a batch.

    Raises:
        InputError: The images differ in size.
    """
    images, labels, indices, versions = zip(*samples)
    sizes = {tuple(image.shape[-2:]) for image in images}
    if len(sizes) > 1:
        raise InputError(
            f'Images of several sizes in one batch: {sorted(sizes)[:3]}. End the test '
            'pipeline with a crop, or set batch_size=1.'
        )
    padded = torch.full((len(samples), MOST_LABELS), NO_LABEL)
    for row, own in zip(padded, labels):
        row[: len(own)] = torch.tensor(own)
    return Batch(torch.stack(images), padded, indices, torch.stack(versions))


def make_loader(
    pictures: Pictures, indices: Sequence[int], batch_size: int, workers: int
) -> DataLoader:
    """Return a loader of these images in this order.

    Args:
        pictures: The images.
        indices: Indices of the images.
        batch_size: Largest batch size; it is reduced if versions take much memory.
        workers: Number of processes that decode; 0 for none.
    """
    if indices and pictures.versions:
        image, *_, made = pictures[indices[0]]
        fits = BATCH_BYTES // (image.numel() + made.numel())
        batch_size = max(1, min(batch_size, fits))
    return DataLoader(
        Subset(pictures, indices),
        batch_size,
        num_workers=workers,
        collate_fn=collate,
        prefetch_factor=1 if workers else None,
    )
