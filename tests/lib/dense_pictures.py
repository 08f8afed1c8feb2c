"""Noise with a bright box each, in the layouts of ADE20K and COCO."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np


def write_pictures(
    folder: Path, count: int, seed: int
) -> Iterator[tuple[str, list[int]]]:
    """Noise with one bright box each; yields (file name, box) of each."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        image = random.integers(0, 90, (96, 128, 3), dtype=np.uint8)
        x, y = random.integers(0, 64, 2)
        w, h = random.integers(24, 32, 2)
        image[y : y + h, x : x + w] += 120
        cv2.imwrite(str(folder / f'{number}.jpg'), image)
        yield f'{number}.jpg', [int(v) for v in (x, y, w, h)]


def write_ade20k(root: Path) -> None:
    """Two pictures a split, whose boxes are of the last class."""
    for seed, split in enumerate(('training', 'validation')):
        labels = root / 'annotations' / split
        labels.mkdir(parents=True)
        for name, (x, y, w, h) in write_pictures(root / 'images' / split, 2, seed):
            label = np.full((96, 128), 3, np.uint8)
            label[y : y + h, x : x + w] = 150
            label[:8] = 0  # "other", not learnt
            cv2.imwrite(str(labels / name.replace('jpg', 'png')), label)


def write_coco(root: Path) -> None:
    """Two pictures a split, each with one object of the first class."""
    from mmdet.datasets import CocoDataset  # needs the compiled mmcv

    (root / 'annotations').mkdir(parents=True)
    names = CocoDataset.METAINFO['classes']
    categories = [dict(id=number, name=name) for number, name in enumerate(names, 1)]
    for seed, split in enumerate(('train2017', 'val2017')):
        images, boxes = [], []
        for name, (x, y, w, h) in write_pictures(root / split, 2, seed):
            images.append(dict(id=len(images), file_name=name, width=128, height=96))
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            boxes.append(dict(
                id=len(boxes) + 1, image_id=images[-1]['id'], category_id=1,
                bbox=[x, y, w, h], area=w * h, iscrowd=0, segmentation=[corners],
            ))  # fmt: skip
        content = dict(images=images, annotations=boxes, categories=categories)
        file = root / 'annotations' / f'instances_{split}.json'
        file.write_text(json.dumps(content))
