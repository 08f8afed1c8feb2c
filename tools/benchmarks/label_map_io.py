"""Speed of reading label maps, and of data pipelines with them.

The same synthetic maps, in a store of this package and in the official layout, are read
in random order by one process or by the workers of a dataloader, from the disk, as far
as the cache of the operating system can be cleared (cold), or from that cache (warm).
Steps of a pipeline with maps are compared with those without.
"""

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.registry import TRANSFORMS

from mmtlalign.methods.token_labeling.geometry import LabelMap
from mmtlalign.methods.token_labeling.metadata import StoreMetadata, fingerprint
from mmtlalign.methods.token_labeling.store import LabelMapStore, create_store
from mmtlalign.methods.token_labeling.targets import FIELDS
from tools.benchmarks import timing

LAYOUTS = ('store', 'official')
# The values of the published files.
CLASSES, GRID, TOPK = 1000, (18, 18), 5
PATCH = 16
MAP_TRANSFORMS = ('flip', 'RandAugment', 'crop')
# A typical size of ImageNet's images.
IMAGE = (375, 500, 3)


def draw_maps(count: int, named: int) -> Iterator[LabelMap]:
    """Yield maps with ``named`` classes each, whose logits fall with the rank."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        classes = rng.choice(CLASSES, named, replace=False)
        order = rng.random((named, *GRID)).argsort(axis=0)[:TOPK]
        values = -np.sort(-12 * rng.random((TOPK, *GRID)), axis=0)
        yield LabelMap(values.astype(np.float16), classes[order].astype(np.int16))


def write_maps(folder: Path, count: int, named: int) -> list[str]:
    """Write the same maps in both layouts, into the folders ``store`` and ``official``.

    Args:
        folder: Parent of both.
        count: Number of maps.
        named: Number of classes in each of them.

    Returns:
        Relative paths of their images.
    """
    names = sorted(f'n{i % 100:08d}/n{i % 100:08d}_{i}.JPEG' for i in range(count))
    metadata = StoreMetadata(
        CLASSES, '', GRID, TOPK, count, fingerprint(names), dict(model='made up')
    )
    store = create_store(folder / 'store', metadata, names)
    maps = list(draw_maps(min(count, 256), named))
    for shard in range(metadata.shards):
        store.write(shard, [maps[row % len(maps)] for row in metadata.rows(shard)])
    for row, name in enumerate(names):
        file = folder / 'official' / f'{name.partition(".")[0]}.pt'
        file.parent.mkdir(parents=True, exist_ok=True)
        planes = np.stack([p.astype(np.float16) for p in maps[row % len(maps)]])
        torch.save(torch.from_numpy(planes), file)
    # Only files that are on the disk can be dropped from the cache.
    os.sync()
    return names


def open_maps(folder: Path, layout: str) -> Any:
    """Return a reader of a layout."""
    if layout == 'store':
        return LabelMapStore(folder / layout)
    return PlainFiles(folder / layout)


class PlainFiles:
    """Reader of official files as in the official code, without checks.

    This package's own reader of them takes longer, because it checks what it reads.

    Args:
        root: Folder of the files.
    """

    def __init__(self, root: Path):
        self.root = root

    def __getitem__(self, name: str) -> LabelMap:
        file = self.root / f'{name.partition(".")[0]}.pt'
        return LabelMap(*torch.load(file, weights_only=False).numpy())


class MapReads(torch.utils.data.Dataset):
    """Data set that reads maps in workers, which return one number of each.

    Args:
        maps: Reader.
        names: Images whose maps are read.
    """

    def __init__(self, maps: Any, names: Sequence[str]):
        self.maps, self.names = maps, names

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return float(self.maps[self.names[index]].values[0, 0, 0])


def read(folder: Path, layout: str, names: Sequence[str], workers: int) -> float:
    """Return maps per second by the wall clock, with a newly opened reader."""
    maps = open_maps(folder, layout)
    if not workers:
        _, seconds = timing.time_call(lambda: [maps[name] for name in names])
        return len(names) / seconds
    loader = torch.utils.data.DataLoader(
        MapReads(maps, names), batch_size=16, num_workers=workers
    )
    batches = iter(loader)
    # Timed after the first batch, so that starting processes does not count.
    first = len(next(batches))
    _, seconds = timing.time_call(lambda: list(batches))
    return (len(names) - first) / seconds


def forget(folder: Path) -> None:
    """Drop the files from the cache of the operating system, where it allows that."""
    for file in folder.rglob('*'):
        if file.is_file() and hasattr(os, 'posix_fadvise'):
            with open(file, 'rb') as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compare_reading(
    folder: Path, names: Sequence[str], workers: int, repeats: int
) -> dict[str, dict]:
    """Measure maps per second of each layout, with the layouts taking turns.

    Args:
        folder: Folder that :func:`write_maps` filled.
        names: The paths that it returned.
        workers: Number of workers of the dataloader.
        repeats: Number of rounds.

    Returns:
        By processes and caches: speeds of the rounds of each layout, and ``ratio``.
    """
    rng = random.Random(0)
    found = {}
    for processes in (0, workers):
        for cache in ('cold', 'warm'):
            speeds = {layout: [] for layout in LAYOUTS}
            for round_ in range(repeats):
                order = rng.sample(names, len(names))
                for layout in LAYOUTS if round_ % 2 else LAYOUTS[::-1]:
                    if cache == 'cold':
                        forget(folder / layout)
                    speeds[layout].append(read(folder, layout, order, processes))
            readers = f'{processes} workers' if processes else '1 process'
            ratio = timing.ratios(speeds['store'], speeds['official'])
            found[f'{readers}, {cache}'] = dict(speeds, ratio=ratio)
    return found


def bytes_of(folder: Path) -> tuple[int, int]:
    """Return the bytes of the files of a folder, and the space that they take."""
    stats = [f.stat() for f in folder.rglob('*') if f.is_file()]
    return sum(s.st_size for s in stats), sum(s.st_blocks * 512 for s in stats)


def pipeline_steps(folder: Path, size: int, topk: int | None) -> dict:
    """Return steps of a pipeline by name: without a map, and the same with it."""
    randaugment = dict(policies='timm_increasing', num_policies=2, magnitude_level=9)
    load = dict(image_root='images', num_classes=CLASSES)
    configs = {
        'decode': dict(type='LoadImageFromFile'),
        'map from the store': dict(
            type='mmtlalign.LoadLabelMap', root=str(folder / 'store'), **load
        ),
        'map from a .pt': dict(
            type='mmtlalign.LoadLabelMap', root=str(folder / 'official'), **load
        ),
        'flip': dict(type='RandomFlip', prob=0.5),
        'flip, map': dict(type='mmtlalign.FlipWithMap', prob=0.5),
        'RandAugment': dict(type='RandAugment', magnitude_std=0.5, **randaugment),
        'RandAugment, map': dict(
            type='mmtlalign.RandAugmentWithMap', magnitude_std=0.5, **randaugment
        ),
        'crop': dict(type='RandomResizedCrop', scale=size),
        'crop, map': dict(type='mmtlalign.RandomResizedCropWithMap', scale=size),
        'pool': dict(
            type='mmtlalign.PoolLabelMap',
            size=size // PATCH,
            num_classes=CLASSES,
            topk=topk,
        ),
        'pack': dict(type='PackInputs', algorithm_keys=FIELDS),
    }
    return {name: TRANSFORMS.build(config) for name, config in configs.items()}


def compare_pipelines(
    folder: Path, names: Sequence[str], size: int, topk: int, repeats: int
) -> tuple[dict[str, list[float]], dict[str, list[dict]]]:
    """Measure CPU seconds per image of each step, with the steps taking turns.

    Args:
        folder: Folder that :func:`write_maps` filled.
        names: The images of a round.
        size: Side of the crops in pixels, a multiple of 16.
        topk: Number of classes kept for each token.
        repeats: Number of rounds.

    Returns:
        Seconds of each step, a list by round; and the images of a round as packed for
        training, with labels of the ``'top k'`` and of ``'all'`` classes.
    """
    steps = pipeline_steps(folder, size, topk)
    noise = np.random.default_rng(0).integers(0, 255, IMAGE, np.uint8)
    image = cv2.GaussianBlur(noise, (9, 9), 0)
    jpeg = str(folder / 'image.jpg')
    cv2.imwrite(jpeg, image)
    samples = [dict(img_path=f'images/{name}', gt_label=7, img=image) for name in names]
    for sample in samples:
        steps['map from the store'](sample)
    cropped = [steps['crop, map'](dict(s)) for s in samples]

    def run(name):
        given = cropped if name == 'pool' else samples
        if name == 'decode':
            given = [dict(img_path=jpeg)] * len(samples)
        return lambda: [steps[name](dict(sample)) for sample in given]

    def seed(round_):
        random.seed(round_)
        np.random.seed(round_)

    work, _ = timing.take_turns(
        {name: run(name) for name in steps if name != 'pack'},
        repeats,
        before=seed,
    )
    pool_all = pipeline_steps(folder, size, None)['pool']
    packed = {
        'top k': [steps['pack'](steps['pool'](dict(s))) for s in cropped],
        'all': [steps['pack'](pool_all(dict(s))) for s in cropped],
    }
    return {k: [s / len(samples) for s in v] for k, v in work.items()}, packed
