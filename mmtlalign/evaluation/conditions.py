"""Judge networks under many conditions of the same images, in one pass over the data.

Every image is read, decoded and cropped once; all its conditions (corruptions, dropped
patches, attacks) are made from it, and every network is given them.

Shapes: ``B`` batch, ``K`` classes, ``H, W`` pixels, ``n`` images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from mmtlalign.errors import InputError
from mmtlalign.evaluation.accuracy import restrict
from mmtlalign.evaluation.part_files import PartFiles
from mmtlalign.evaluation.pictures import (
    Batch,
    Pictures,
    Version,
    make_loader,
    to_float,
)
from mmtlalign.evaluation.pixel_model import PixelModel

TOP = 5


@dataclass(frozen=True)
class Condition:
    """One way to change images; without either function they stay as they are.

    Attributes:
        name: Stands in the results.
        change: Makes the images of a batch (B, 3, H, W), 0 to 1, for a network.
        version: Makes one image (H, W, 3) uint8 RGB, given its index, in a worker.
    """

    name: str
    change: Callable[[PixelModel, Batch], Tensor] | None = None
    version: Version | None = None


CLEAN = Condition('clean')


@dataclass(frozen=True)
class Predictions:
    """What a network says of each image under one condition.

    Attributes:
        top: (n, 5) the most probable classes, best first; fewer of fewer classes.
        confidence: (n,) probability of the best.
        likelihood: (n,) log probability of the first label; NaN without one.
        brier: (n,) squared distance of all probabilities from the first label.
        labels: (n, L) true classes, -1 behind.
    """

    top: np.ndarray
    confidence: np.ndarray
    likelihood: np.ndarray
    brier: np.ndarray
    labels: np.ndarray

    def correct(self, k: int = 1) -> np.ndarray:
        """Return whether one of the k best classes is a label of the image (n,)."""
        return (self.top[:, :k, None] == self.labels[:, None]).any(axis=(1, 2))

    @classmethod
    def read(
        cls, arrays: Mapping[str, np.ndarray], network: str, condition: str
    ) -> 'Predictions':
        """Return the predictions of one network under one condition.

        Args:
            arrays: What :meth:`PartFiles.collect` gave after :func:`predict`.
            network: Its name.
            condition: Name of the condition.
        """
        names = [f.name for f in fields(cls) if f.name != 'labels']
        own = {n: arrays[f'{network}/{condition}/{n}'] for n in names}
        return cls(**own, labels=arrays['labels'])


def predict(
    networks: Mapping[str, PixelModel],
    pictures: Pictures,
    conditions: Sequence[Condition],
    parts: PartFiles,
    indices: Sequence[int],
    batch_size: int = 64,
    workers: int = 0,
    classes: Sequence[int] | None = None,
    count: Callable[[int], None] = lambda images: None,
) -> None:
    """Run networks under all conditions, and store what they say of each image.

    Args:
        networks: Name to network.
        pictures: The images; its ``versions`` are those of the conditions, in order.
        conditions: The conditions.
        parts: Gets the rows; :meth:`Predictions.read` reads them.
        indices: Images that this process measures.
        batch_size: Of a forward pass.
        workers: Processes that decode and corrupt.
        classes: Classes among which the networks choose; predictions and labels are
            then places among these. Defaults to None: all.
        count: Called with the number of images done.

    Raises:
        InputError: A network gives NaN, or a label is none of its classes.
    """
    device = next(iter(networks.values())).mean.device
    versions = [c for c in conditions if c.version is not None]
    changes = [c for c in conditions if c.version is None]
    for batch in make_loader(pictures, indices, batch_size, workers):
        given = batch.to(device)
        made = batch.versions.transpose(0, 1).flatten(0, 1)
        arrays: dict[str, np.ndarray] = dict(labels=batch.labels.numpy())
        for name, network in networks.items():
            logits = {}
            for condition in changes:
                images = given.images
                if condition.change is not None:
                    images = condition.change(network, given)
                logits[condition.name] = _logits(network, images)
            # The versions of the few images of a batch fill forward passes together.
            if versions:
                every = torch.cat(
                    [
                        _logits(network, to_float(part.to(device)))
                        for part in made.split(batch_size)
                    ]
                )
                names = [condition.name for condition in versions]
                logits.update(zip(names, every.split(len(batch.images))))
            for condition_name, own in logits.items():
                labels = given.labels
                if classes is not None:
                    own, labels = restrict(own, labels, classes)
                    arrays['labels'] = labels.cpu().numpy()
                for key, array in score(own, labels).items():
                    arrays[f'{name}/{condition_name}/{key}'] = array
        parts.add(batch.indices, arrays)
        count(len(batch.images))
    parts.save()


@torch.no_grad()
def score(logits: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """Return the arrays of :class:`Predictions`, without the labels.

    Args:
        logits: (B, K).
        labels: (B, L), -1 for none.

    Raises:
        InputError: Logits are not finite, or a label is none of the K.
    """
    classes = logits.shape[1]
    if not logits.isfinite().all():
        raise InputError(
            'The network gives NaN or infinite scores. Check its checkpoint, and mean '
            'and std of its data preprocessor.'
        )
    if labels.max() >= classes:
        raise InputError(
            f'An image has label {labels.max().item()}, but the network has {classes} '
            'classes, 0 to '
            f'{classes - 1}. Evaluate it on the data that it was trained for.'
        )
    log = logits.float().log_softmax(dim=1)
    probability = log.exp()
    own = labels[:, :1].clamp(min=0)
    likelihood = log.gather(1, own)[:, 0]
    true = probability.gather(1, own)[:, 0]
    nan = torch.full_like(likelihood, torch.nan)
    labelled = labels[:, 0] >= 0
    arrays = dict(
        top=log.topk(min(TOP, classes), dim=1).indices.int(),
        confidence=probability.amax(dim=1),
        likelihood=torch.where(labelled, likelihood, nan),
        brier=torch.where(labelled, probability.square().sum(1) - 2 * true + 1, nan),
    )
    return {name: array.cpu().numpy() for name, array in arrays.items()}


@torch.no_grad()
def _logits(network: PixelModel, images: Tensor) -> Tensor:
    return network(images)
