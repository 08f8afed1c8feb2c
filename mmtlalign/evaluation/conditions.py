"""Evaluation of networks under many conditions, in one pass over the data.

Every image is read, decoded and cropped once; all its conditions (corruptions, dropped
patches, attacks) are computed from it, and every network is run on them.

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
    """One way to change images; without a function they are not changed.

    Attributes:
        name: Name in the results.
        change: Changes a batch of images (B, 3, H, W), 0 to 1, for a network.
        version: Changes one image (H, W, 3) uint8 RGB, given its index, in a worker.
    """

    name: str
    change: Callable[[PixelModel, Batch], Tensor] | None = None
    version: Version | None = None


CLEAN = Condition('clean')


@dataclass(frozen=True)
class Predictions:
    """Predictions of a network for each image under one condition.

    Attributes:
        top: Most probable classes (n, 5), best first; fewer if there are fewer classes.
        confidence: Probability of the best class (n,).
        likelihood: Log probability of the first label (n,); NaN without a label.
        brier: Squared distance of the probabilities from the first label (n,).
        labels: True classes (n, L), padded with -1.
    """

    top: np.ndarray
    confidence: np.ndarray
    likelihood: np.ndarray
    brier: np.ndarray
    labels: np.ndarray

    def correct(self, k: int = 1) -> np.ndarray:
        """Return whether one of the k best classes is a label of the image (n,).

        Raises:
            InputError: k is not 1 to 5, the number of classes that are stored.
        """
        if not 1 <= k <= TOP:
            raise InputError(
                f'k={k}: only the {TOP} best classes of an image are stored; give 1 to '
                f'{TOP}.'
            )
        return (self.top[:, :k, None] == self.labels[:, None]).any(axis=(1, 2))

    @classmethod
    def read(
        cls, arrays: Mapping[str, np.ndarray], network: str, condition: str
    ) -> 'Predictions':
        """Return the predictions of one network under one condition.

        Args:
            arrays: Output of :meth:`PartFiles.collect` after :func:`predict`.
            network: Name of the network.
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
    """Run networks under all conditions, and store their predictions for each image.

    Args:
        networks: Networks by name.
        pictures: The images; its ``versions`` are those of the conditions, in order.
        conditions: The conditions.
        parts: Files that the results are added to; :meth:`Predictions.read` reads them.
        indices: Indices of the images that this process evaluates.
        batch_size: Images of a forward pass.
        workers: Number of processes that decode and corrupt.
        classes: Classes that the networks may choose from; predictions and labels are
            then positions in this list. Defaults to None: all.
        count: Called with the number of images done.

    Raises:
        InputError: A network gives NaN, or a label is not one of its classes.
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
            # The versions of all images are joined, so that forward passes are full.
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
        InputError: Logits are not finite, or a label is not among the K classes.
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
