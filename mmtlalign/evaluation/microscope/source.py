"""Model, data and mixed pairs of a config for the label microscope."""

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from torch import Tensor, nn

from mmtlalign.compat.wrappers import unwrap_dataset
from mmtlalign.errors import InputError, some_of
from mmtlalign.evaluation.microscope.collect import (
    class_scores,
    collect_pairs,
)
from mmtlalign.evaluation.microscope.records import Geometry, Pair
from mmtlalign.evaluation.pictures import is_bgr
from mmtlalign.methods.mixer import BatchMixer
from mmtlalign.mixing.mix import Mix
from mmtlalign.modes import eval_mode
from mmtlalign.tracing.support import backbone_spec

# Largest number of draws until a pair is mixed.
DRAWS = 100
PICTURES = {'.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp'}


def make_pairs(
    model: nn.Module,
    dataset: Any,
    collate: Callable,
    count: int = 16,
    seed: int = 0,
) -> tuple[Geometry, list[Pair]]:
    """Mix images of a data set as in training, and collect their traced labels.

    Two images at a time are mixed with each other, by one draw. The random state of the
    process is restored.

    Args:
        model: A classifier of mmpretrain; images are mixed by its ``mixer``, or by
            TokenCutMix if it has none.
        dataset: Data set of images and data samples.
        collate: Function that makes a batch of its items.
        count: Number of pairs.
        seed: Seed of the choice of images and of the masks.

    Returns:
        The geometry of the tokens, and the pairs.

    Raises:
        InputError: There are fewer than two images, they differ in size, or the model
            does not mix them.
    """
    total = len(dataset)
    if total < 2:
        raise InputError(f'{total} image(s): a pair needs two; name more images.')
    bgr = is_bgr(dataset)
    order = np.random.default_rng(seed).permutation(total)
    geometry, pairs, sizes = None, [], set()
    with own_draws(), eval_mode(model):
        for number in range(-(-count // 2)):
            set_seeds(seed, number)
            couple = [order[(2 * number + i) % total] for i in range(2)]
            items = [dataset[int(index)] for index in couple]
            sizes |= {tuple(item['inputs'].shape[-2:]) for item in items}
            if len(sizes) > 1:
                raise InputError(
                    'Images of '
                    + ' and '.join(f'{h}x{w}' for h, w in sorted(sizes))
                    + ' pixels: let the pipeline crop all to one size.'
                )
            batch = collate(items)
            check_classes(batch['data_samples'], model.head.num_classes)
            data = model.data_preprocessor(batch, False)
            images, samples = data['inputs'], data['data_samples']
            mix = draw_mix(model, images, couple_labels(model, images, samples))
            geometry, both = collect_pairs(model, mix, images, samples, bgr)
            pairs += both
    assert geometry is not None
    return geometry, pairs[:count]


def draw_mix(model: nn.Module, images: Tensor, labels: Tensor) -> Mix:
    """Mix two images with each other, as the model does in training.

    Raises:
        InputError: No draw mixes them, or the augment does not record the mask.
    """
    mixer = getattr(model, 'mixer', None)
    if mixer is None:
        patch = backbone_spec(model.backbone).patch(model.backbone)
        mixer = BatchMixer(dict(type='mmtlalign.TokenCutMix', patch_size=patch[0]))
    for _ in range(DRAWS):
        mix = mixer(images.clone(), labels)
        if mix.partner.tolist() == [1, 0] and 0 < float(mix.area()[0]) < 1:
            return mix
    names = [type(augment).__name__ for augment in mixer.augments]
    raise InputError(
        f'{DRAWS} draws of {some_of(names)} gave no mixed pair in which the share of '
        'every pixel is known: use augments of mmtlalign, such as '
        'mmtlalign.TokenCutMix.'
    )


@torch.no_grad()
def couple_labels(model: nn.Module, images: Tensor, samples: Sequence) -> Tensor:
    """Return labels (B, K) of images, or the model's prediction without a label."""
    labels, scores = [], None
    for index, sample in enumerate(samples):
        classes = model.head.num_classes
        if 'gt_score' in sample:
            labels.append(sample.gt_score.float().cpu())
            continue
        if 'gt_label' in sample:
            known = sample.gt_label.flatten().cpu()
        else:
            scores = class_scores(model, images) if scores is None else scores
            known = scores[index].argmax().reshape(1).cpu()
        hot = torch.zeros(classes)
        hot[known] = 1 / len(known)
        labels.append(hot)
    return torch.stack(labels).to(images.device)


def check_classes(samples: Sequence, classes: int) -> None:
    """Check that the labels of samples are classes of the model.

    Raises:
        InputError: One is not; the message names the image.
    """
    for sample in samples:
        if 'gt_label' in sample and int(sample.gt_label.max()) >= classes:
            raise InputError(
                f'Image {sample.get("img_path", "")} is of class '
                f'{int(sample.gt_label.max())}, but the model has {classes} classes, '
                'counted from 0: name images of the classes of the model.'
            )


@contextlib.contextmanager
def own_draws() -> Iterator[None]:
    """Restore the random state of Python, NumPy and PyTorch afterwards."""
    states = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def set_seeds(*seeds: int) -> None:
    """Seed Python, NumPy and PyTorch from several numbers."""
    seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def config_data(
    cfg: Config, classes: int, split: str = 'val', images: str | None = None
) -> tuple[Any, Callable]:
    """Build the data set of a config, and its collate function.

    Args:
        cfg: A config of mmpretrain.
        classes: Number of classes K of the model.
        split: ``'train'``, ``'val'`` or ``'test'``.
        images: Folder to use instead, with the pipeline of the split. If it contains K
            folders, these are the classes, in order; otherwise images have no class.

    Raises:
        InputError: The config does not have the split, or the folder has no images.
    """
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise InputError(
            f'{cfg.filename} has no {split}_dataloader: name another split, or a '
            'config with one.'
        )
    loader = dict(loader, batch_size=2, num_workers=0, dataset=dict(loader['dataset']))
    loader.pop('persistent_workers', None)
    loader.pop('batch_sampler', None)
    loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
    if images is not None:
        pipeline = unwrap_dataset(loader['dataset'])['pipeline']
        loader['dataset'] = folder_dataset(images, pipeline, classes)
    built = Runner.build_dataloader(loader, seed=0)
    return built.dataset, built.collate_fn


def folder_dataset(folder: str, pipeline: list, classes: int) -> dict:
    """Return the config of a data set of a folder's images.

    Raises:
        InputError: The folder has no images.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(f"--images '{folder}' is not a folder: correct the path.")
    if not any(p.suffix.lower() in PICTURES for p in root.rglob('*')):
        raise InputError(f"--images '{folder}' has no images: name another folder.")
    inside = sum(path.is_dir() for path in root.iterdir())
    return dict(
        type='CustomDataset',
        data_root=str(root),
        with_label=inside == classes,
        pipeline=pipeline,
    )


def class_names(count: int, *sources: Mapping) -> list[str]:
    """Return the names of a model's classes, or numbers if they are unknown.

    Args:
        count: Number of classes.
        *sources: Meta information of data sets; the first with this number of
            ``classes`` is used.
    """
    for source in sources:
        names = source.get('classes') or ()
        if len(names) == count:
            return [str(name) for name in names]
    return [f'class {number}' for number in range(count)]


def known_classes(cfg: Config, model: nn.Module, dataset: Any) -> list[str]:
    """Return the names of a model's classes.

    They are taken from the images, from the training data of the checkpoint, or from
    the type of data set in the config.
    """
    loader = cfg.get('val_dataloader') or cfg.get('train_dataloader') or {}
    kind = DATASETS.get(str(unwrap_dataset(loader.get('dataset') or {}).get('type')))
    return class_names(
        model.head.num_classes,
        getattr(dataset, 'metainfo', {}),
        getattr(model, '_dataset_meta', None) or {},
        getattr(kind, 'METAINFO', {}),
    )


def describe_config(cfg: Config, model: nn.Module) -> dict[str, str]:
    """Return the page's description of config, network and mixer."""
    name = Path(cfg.filename or 'config').name
    return dict(config=name, **describe_model(model))


def describe_model(model: nn.Module) -> dict[str, str]:
    """Return the page's description of network and mixer."""
    mixer = getattr(model, 'mixer', None)
    names = [type(a).__name__ for a in mixer.augments] if mixer else ['TokenCutMix']
    size = sum(p.numel() for p in model.backbone.parameters()) / 1e6
    head = type(model.head).__name__
    return dict(
        network=f'{type(model.backbone).__name__}, {size:.1f} M parameters, {head}',
        mixer=', '.join(dict.fromkeys(names)),
    )
