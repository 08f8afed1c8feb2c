"""Stores and official files of label maps for tests, and what reads and makes them."""

import numpy as np
import timm
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image
from repository import tool

from mmtlalign.methods.token_labeling.geometry import LabelMap
from mmtlalign.methods.token_labeling.metadata import StoreMetadata, fingerprint
from mmtlalign.methods.token_labeling.store import create_store

CLASSES = [f'class {k}' for k in range(12)]
NAMES = sorted(f'{c}/picture {n}.JPEG' for c in 'abc' for n in range(3))


def metadata_of(names=NAMES, num_classes=12, grid=(3, 5), topk=4, shard_size=4):
    return StoreMetadata(
        num_classes=num_classes,
        classes=fingerprint(CLASSES),
        grid=grid,
        topk=topk,
        images=len(names),
        image_set=fingerprint(names),
        annotator=dict(model='toy'),
        shard_size=shard_size,
    )


def draw_map(name, metadata):
    rng = np.random.default_rng(list(name.encode()))
    logits = rng.normal(size=(metadata.num_classes, *metadata.grid)).astype(np.float16)
    indices = np.argsort(-logits, axis=0)[: metadata.topk]
    return LabelMap(np.take_along_axis(logits, indices, 0), indices)


def fill(root, metadata=None, names=NAMES):
    metadata = metadata or metadata_of()
    store = create_store(root, metadata, names)
    for shard in store.missing_shards():
        store.write(shard, [draw_map(n, metadata) for n in store.shard_names(shard)])
    return store


def write_official(root, names=NAMES):
    for name in names:
        file = root / f'{name.partition(".")[0]}.pt'
        file.parent.mkdir(parents=True, exist_ok=True)
        values, indices = draw_map(name, metadata_of())
        planes = np.stack([values, indices.astype(np.float16)])
        torch.save(torch.from_numpy(planes), file)


def load_step(root, **options):
    options = dict(image_root='data/pictures', num_classes=12) | options
    return TRANSFORMS.build(
        dict(type='mmtlalign.LoadLabelMap', root=str(root), **options)
    )


def run_tool(pictures, out, weights, *more):
    module = tool('dataset_converters/make_label_maps')
    arguments = [pictures, out, '--annotator', 'timm:test_efficientnet']
    arguments += ['--checkpoint', weights('test_efficientnet'), '--size', '64', '96']
    arguments += ['--shard-size', '3', '--workers', '0', '--batch-size', '2']
    arguments += ['--device', 'cpu', *more]
    module.run(module.parse_args([str(a) for a in arguments]))


def draw_pictures(root):
    """Seven pictures, not square, in two class folders."""
    rng = np.random.default_rng(0)
    for number in range(7):
        file = root / f'class{number % 2}' / f'{number}.png'
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 56, 3), np.uint8)).save(file)
    return root


def weights_in(folder):
    """A function that writes random weights of a timm model."""

    def write(name):
        file = folder / f'{name}.pth'
        if not file.exists():
            torch.manual_seed(0)
            torch.save(timm.create_model(name).state_dict(), file)
        return str(file)

    return write
