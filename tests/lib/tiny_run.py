"""Write 32 small images and a config of a two-layer ViT, and run the tools on both."""

import importlib.util
import itertools
import sys
from pathlib import Path

import cv2
import numpy as np
from mmengine.visualization import Visualizer
from pytest import MonkeyPatch
from repository import ROOT

TOOLS = ROOT / 'tools'
COUNT = itertools.count()

CONFIG = """
default_scope = 'mmpretrain'
data_root = '{data}/'
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
        img_size=32,
        patch_size=8,
    ),
    head=dict(type='VisionTransformerClsHead', num_classes=2, in_channels=16),
    init_cfg=[dict(type='TruncNormal', layer='Linear', std=0.02)],
)
data_preprocessor = dict(num_classes=2, mean=[127.0] * 3, std=[64.0] * 3)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
dataset = dict(type='CustomDataset', data_root=data_root, pipeline=pipeline)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(data_prefix='train', **dataset),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(data_prefix='val', **dataset),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True)
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1),
)
randomness = dict(seed=0)
"""


def write_images(root: Path) -> Path:
    """Write ``train`` (32) and ``val`` (16) images of two colours; return the root."""
    draw = np.random.RandomState(0)
    for split, number in (('train', 16), ('val', 8)):
        for kind in range(2):
            folder = root / split / f'class{kind}'
            folder.mkdir(parents=True)
            for index in range(number):
                image = draw.randint(0, 100, (32, 32, 3), dtype=np.uint8)
                image[:, :, kind] += 120
                cv2.imwrite(str(folder / f'{index:02d}.png'), image)
    return root


def write_config(folder: Path, data: Path, text: str = '') -> Path:
    """Write the config, with more lines at its end, under a name of its own.

    mmengine keeps loggers and message hubs by name and second: two runs of one
    name in one second would share them.
    """
    path = folder / f'tiny_{next(COUNT)}.py'
    path.write_text(CONFIG.format(data=data) + text)
    return path


def run_tool(monkeypatch: MonkeyPatch, name: str, *args: object) -> None:
    """Run ``tools/<name>.py`` in this process with these arguments."""
    spec = importlib.util.spec_from_file_location(f'tool_{name}', TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
    # Runs of one name that begin in one second would share theirs, and its folder.
    for kind in (Visualizer, *Visualizer.__subclasses__()):
        kind._instance_dict.clear()
    module.main()


def train_to_end(
    monkeypatch: MonkeyPatch, folder: Path, data: Path, *args: object, text: str = ''
) -> str | None:
    """Train in ``folder/work``; return the message it ends with, None if well.

    Args:
        monkeypatch: Of the test.
        folder: Where the config and the work directory go.
        data: Root of the images.
        *args: More arguments of ``tools/train.py``.
        text: More lines of the config.
    """
    config = write_config(folder, data, text)
    try:
        run_tool(monkeypatch, 'train', config, '--work-dir', folder / 'work', *args)
    except SystemExit as stop:
        return str(stop.code)
    return None
