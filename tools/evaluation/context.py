"""The networks, images and command-line options that all items share."""

import hashlib
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine import dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from torch import nn
from torch.utils.data import DataLoader

from mmtlalign.compat.wrappers import unwrap_dataset
from mmtlalign.engine.runner import TaskRunner
from mmtlalign.errors import InputError
from mmtlalign.evaluation.classifier import enter_scope, load_classifier
from mmtlalign.evaluation.corruptions import SEVERITIES
from mmtlalign.evaluation.part_files import PartFiles
from mmtlalign.evaluation.pictures import (
    Batch,
    Pictures,
    Version,
    is_bgr,
    make_loader,
    spread_indices,
)
from mmtlalign.evaluation.pixel_model import PixelModel
from mmtlalign.validation.classes import check_checkpoint_classes, class_heads


@dataclass
class Options:
    """Command-line options that change results.

    Attributes:
        limit: Most images; None for all.
        seeds: Seeds of random conditions, one draw each.
        severities: Severities of corruptions.
        saliency: ``'self'``, or an ``.npy`` file of stored maps.
        objects: Data set with masks or boxes of objects; None for none.
        pairs: Number of mixed pairs of the suite ``labels``.
    """

    limit: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    severities: tuple[int, ...] = SEVERITIES
    saliency: str = 'self'
    objects: str | None = None
    pairs: int = 2000


@dataclass
class Context:
    """The networks to compare, and the images to compare them on.

    Attributes:
        cfg: Config of the networks.
        config: Its file.
        checkpoints: Name (``'model'``, ``'control'``) to file, or None for random
            weights.
        weights: Which weights of a file to use.
        data: Folder of data sets that the config does not name.
        out: Folder of the results.
        options: Options that change results.
        batch_size: Batch size of a forward pass.
        workers: Number of processes that decode images.
    """

    cfg: Config
    config: str
    checkpoints: dict[str, str | None]
    weights: str
    data: Path
    out: Path
    options: Options
    batch_size: int = 64
    workers: int = 0
    descriptions: dict[str, str] = field(default_factory=dict)
    stamps: dict[str, list | None] = field(default_factory=dict)

    @cached_property
    def device(self) -> torch.device:
        """Device of this process."""
        return torch.device(get_device())

    @cached_property
    def classifiers(self) -> dict[str, nn.Module]:
        """Name to classifier, in eval mode, on the device."""
        found = {}
        for name, checkpoint in self.checkpoints.items():
            model, kind = load_classifier(self.cfg, checkpoint, self.weights)
            found[name] = model.to(self.device)
            text = f'{kind} weights'
            self.descriptions[name] = text + (f' of {checkpoint}' if checkpoint else '')
        return found

    @cached_property
    def random_classifier(self) -> nn.Module:
        """The same network with random weights, in eval mode, on the device."""
        return self.new_classifier()

    def new_classifier(self) -> nn.Module:
        """Build the network with random weights, on the device."""
        return load_classifier(self.cfg)[0].to(self.device)

    @cached_property
    def networks(self) -> dict[str, PixelModel]:
        """Name to network that takes pixels."""
        bgr = is_bgr(self.dataset)
        return {
            name: PixelModel.of(model, bgr).to(self.device)
            for name, model in self.classifiers.items()
        }

    @cached_property
    def num_classes(self) -> int:
        """Number of classes of the networks."""
        for _, head in class_heads(self.classifiers['model']):
            return head.num_classes
        raise InputError(
            'The head of the classifier has no num_classes, so the number of classes '
            'is unknown: evaluate a classifier of mmpretrain.'
        )

    @cached_property
    def dataset(self) -> Any:
        """Test set of the config."""
        loader = self.cfg.get('test_dataloader') or self.cfg.get('val_dataloader')
        if not loader:
            raise InputError(
                'The config has no test_dataloader, so there are no images. Add one, '
                'or give a config with one.'
            )
        enter_scope(self.cfg)
        settings = dict(loader, num_workers=0, persistent_workers=False)
        return TaskRunner.build_dataloader(settings, seed=0).dataset

    def check_classes(self) -> None:
        """Compare the classes of the test set with those a checkpoint was trained on.

        Raises:
            InputError: Their names or their order differ.
        """
        data = dict(test_dataloader=self.dataset)
        for name, model in self.classifiers.items():
            content = dict(
                meta=dict(dataset_meta=getattr(model, '_dataset_meta', None))
            )
            file = self.checkpoints[name] or ''
            logger = MMLogger.get_current_instance()
            check_checkpoint_classes(content, data, file, logger)

    def build(self, settings: dict[str, Any]) -> Any:
        """Build a data set, by default with the test pipeline of the config."""
        enter_scope(self.cfg)
        loader = self.cfg.get('test_dataloader') or self.cfg.val_dataloader
        pipeline = unwrap_dataset(loader['dataset'])['pipeline']
        settings = dict(dict(pipeline=pipeline), **settings)
        given = dict(
            dataset=settings,
            batch_size=1,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
        return TaskRunner.build_dataloader(given, seed=0).dataset

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the first test image."""
        height, width = self.pictures(self.dataset)[0][0].shape[-2:]
        return height, width

    @cached_property
    def processes(self) -> int:
        """Number of processes that share the work."""
        return dist.get_world_size()

    def first_batch(self, count: int) -> Batch:
        """Return a few of the images, evenly spread, on the device."""
        pictures = self.pictures(self.dataset)
        some = self.indices(len(pictures), count)
        (batch,) = make_loader(pictures, some, len(some), 0)
        return batch.to(self.device)

    def pictures(self, dataset: Any, versions: tuple[Version, ...] = ()) -> Pictures:
        """Return the images of a data set before normalisation."""
        return Pictures(dataset, is_bgr(dataset), versions)

    def loader(self, dataset: Any, indices: Sequence[int]) -> DataLoader:
        """Return a loader of images in this order."""
        pictures = self.pictures(dataset)
        return make_loader(pictures, indices, self.batch_size, self.workers)

    def indices(self, count: int, limit: int | None = None) -> list[int]:
        """Return the indices of the images to evaluate, evenly spread.

        Args:
            count: Number of images of the data set.
            limit: Most images. Defaults to None: the limit of the command.
        """
        return spread_indices(count, limit or self.options.limit)

    def parts(self, name: str, *given: Any) -> PartFiles:
        """Return the files of one measurement, named by all that it depends on.

        Args:
            name: Name of the measurement.
            *given: What it depends on besides networks and images.
        """
        text = json.dumps([self.fingerprint, name, given], default=str, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return PartFiles(self.out / 'parts' / f'{name}-{digest}')

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """All that every result depends on."""
        return dict(
            model=self.cfg.model,
            data_preprocessor=self.cfg.get('data_preprocessor'),
            test=self.cfg.get('test_dataloader') or self.cfg.get('val_dataloader'),
            images=digest_of(self.dataset),
            checkpoints={n: sha256(f) for n, f in self.checkpoints.items()},
            weights=self.weights,
            data=str(self.data),
        )

    def chosen(self, names: Collection[str]) -> dict[str, Any]:
        """Return some of the options, with stamps that show if their files changed."""
        values = {name: getattr(self.options, name) for name in sorted(names)}
        files = [value for value in values.values() if isinstance(value, str)]
        return dict(values, files=[self.stamp(file) for file in files])

    def stamp(self, path: str) -> list | None:
        """Return the :func:`stamp` of a file or folder when it was first looked at."""
        if path not in self.stamps:
            self.stamps[path] = stamp(path)
        return self.stamps[path]

    def own_share(self, places: Sequence[int], done: Collection[int]) -> list[int]:
        """Return the places that this process still has to measure.

        Its share does not depend on ``done``, which processes may see differently.
        """
        share = places[dist.get_rank() :: dist.get_world_size()]
        return [place for place in share if place not in done]


def stamp(path: str | Path) -> list | None:
    """Return a value that changes when a file, or a folder, changes; None without it.

    For a folder it has the modification times of all folders inside: files that are
    added, removed or replaced are noticed, but not files written in place.
    """
    path = Path(path)
    if not path.exists():
        return None
    state, times = path.stat(), hashlib.sha256()
    for folder, inside, _ in os.walk(path, followlinks=True):
        inside.sort()
        times.update(f'{folder} {os.stat(folder).st_mtime_ns}\n'.encode())
    return [str(path), state.st_size, state.st_mtime, times.hexdigest()]


def digest_of(dataset: Any) -> str:
    """Return a digest of a data set: files of its images, their sizes and labels."""
    digest = hashlib.sha256(str(len(dataset)).encode())
    if hasattr(dataset, 'get_data_info'):
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            path = str(info.get('img_path'))
            # No size: the image is in memory, or not on this machine.
            size = os.path.getsize(path) if os.path.exists(path) else None
            digest.update(f'{path} {size} {info.get("gt_label")}\n'.encode())
    return digest.hexdigest()


def sha256(path: str | None) -> str | None:
    """Return the hash of a file; None for None."""
    if path is None:
        return None
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
