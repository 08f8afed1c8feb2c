"""Tiny stand-ins of ImageNet's test sets: one picture, linked into every folder."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from mmtlalign.datasets.imagenet_classes import subset_labels, wordnet_ids


def write_picture(path: Path, size: int = 224, seed: int = 0) -> Path:
    """Write a picture of blocks of colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    picture = cv2.resize(cells, (size, size), interpolation=cv2.INTER_LINEAR)
    cv2.imwrite(str(path), picture)
    return path


def fill(root: Path, folders: Iterable[str], picture: Path) -> Path:
    """Link a picture into class folders below a root; return the root."""
    for name in folders:
        (root / name).mkdir(parents=True)
        (root / name / 'a.JPEG').hardlink_to(picture)
    return root


def write_sets(root: Path) -> Path:
    """Write all test sets as the configs expect them below ``data``; return the root.

    Of ImageNet-C there are fog in a group and contrast in none, of severities 1 and 2.
    """
    picture = write_picture(root / 'one.jpg')
    for which in 'aro':
        fill(root / f'imagenet-{which}', subset_labels(which), picture)
    fill(root / 'imagenet-sketch', wordnet_ids(), picture)
    numbers = map(str, range(1000))
    fill(root / 'imagenetv2/imagenetv2-matched-frequency-format-val', numbers, picture)
    for cell in ('weather/fog/1', 'weather/fog/2', 'contrast/1', 'contrast/2'):
        fill(root / 'imagenet-c' / cell, wordnet_ids(), picture)
    for number, wnid in enumerate(wordnet_ids(), 1):
        folder = root / 'imagenet/val' / wnid
        folder.mkdir(parents=True)
        (folder / f'ILSVRC2012_val_{number:08d}.JPEG').hardlink_to(picture)
    write_cifar_c(root / 'cifar10-c')
    return root


def write_cifar_c(root: Path, size: int = 4) -> Path:
    """Write two corruptions of so many pictures, each pixel its severity."""
    root.mkdir()
    labels = np.tile(np.arange(size, dtype=np.uint8), 5)
    np.save(root / 'labels.npy', labels)
    levels = np.arange(1, 6, dtype=np.uint8).repeat(size)
    images = np.broadcast_to(levels[:, None, None, None], (5 * size, 32, 32, 3))
    for name in ('fog', 'contrast'):
        np.save(root / f'{name}.npy', images)
    return root
