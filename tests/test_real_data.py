"""Real images: the recipes' shapes, made small, learn within a few iterations.

The models are narrow and the pictures small, so these runs say that the
recipes work on real files, not how well.
"""

import numpy as np
import pytest
from small_runs import (
    load,
    losses,
    scores,
    small_cascade,
    small_pictures,
    small_upernet,
    train,
)

pytestmark = [pytest.mark.real_data, pytest.mark.slow]

CAMVID = (
    'Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist'
).split()
VOID = len(CAMVID)


def fall(work_dir):
    """Check that the loss falls; returns the last as a share of the first.

    The mean of the last fifth must lie below the mean of the first five
    iterations by four standard errors of their difference.
    """
    values = np.array(losses(work_dir))
    first, last = values[:5], values[-len(values) // 5 :]
    error = np.sqrt(first.var(ddof=1) / len(first) + last.var(ddof=1) / len(last))
    print(
        f'loss of {len(values)} iterations: first {first.mean():.3f}, '
        f'last {last.mean():.3f}, standard error {error:.3f}'
    )
    assert np.isfinite(values).all()
    assert last.mean() < first.mean() - 4 * error
    return last.mean() / first.mean()


def set_datasets(cfg, train_set, val_set):
    """Replace the data sets, keeping the pipelines."""
    for split, dataset in dict(train=train_set, val=val_set, test=val_set).items():
        loader = cfg[f'{split}_dataloader']
        loader.dataset = dict(dataset, pipeline=loader.dataset.pipeline)


def test_tlalign_deit_on_cifar10(unpack, tmp_path):
    root = str(unpack('cifar10'))
    cfg = load('tlalign_deit-tiny-p4_1xb128-coslr-200e_cifar10-32px')
    cfg.model.backbone.update(
        arch=dict(embed_dims=96, num_layers=4, num_heads=3, feedforward_channels=384)
    )
    cfg.model.head.in_channels = 96
    dataset = dict(type='CustomDataset', data_root=root, with_label=True)
    every_20th = list(range(0, 10000, 20))
    set_datasets(
        cfg,
        dict(dataset, data_prefix='train'),
        dict(dataset, data_prefix='test', indices=every_20th),
    )
    # Unlike the recipe's arrays these are files, read as BGR.
    read = dict(type='LoadImageFromFile')
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.pipeline.insert(0, read)
    cfg.data_preprocessor.to_rgb = True
    # It pays over hundreds of epochs, and hides the start of learning.
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[:] = [step for step in pipeline if step['type'] != 'RandAugment']
    cfg.train_dataloader.batch_size = 64

    runner = train(cfg, tmp_path / 'run', iterations=150, lr=1e-3)

    assert type(runner.model).__name__ == 'MixClassifier'
    assert type(runner.model.head).__name__ == 'TLAlignVisionTransformerClsHead'
    # Mixed targets keep the loss high (chance is ln 10 = 2.30, and an even mix
    # costs at least ln 2), hence the accuracy on whole images too.
    fall(tmp_path / 'run')
    accuracy = scores(tmp_path / 'run')['accuracy/top1']
    print(f'top-1 of 500 test images: {accuracy:.1f} % (chance 10 %)')
    assert accuracy > 15


def test_upernet_on_camvid(unpack, tmp_path):
    root = str(unpack('camvid480'))
    cfg = load('swin-tiny-p4-w7_tlalign-in1k-pre_upernet_8xb2')
    cfg.pretrained = None
    small_upernet(cfg, classes=len(CAMVID))
    dataset = dict(
        type='BaseSegDataset',
        data_root=root,
        metainfo=dict(classes=CAMVID),
        img_suffix='.jpg',
        seg_map_suffix='.png',
        ignore_index=VOID,
    )
    train_set, val_set = (
        dict(
            dataset,
            ann_file=f'{split}.txt',
            data_prefix=dict(img_path=split, seg_map_path=f'{split}annot'),
        )
        for split in ('train', 'val')
    )
    set_datasets(cfg, train_set, val_set)
    small_pictures(cfg, short=120, crop=96)
    for split in ('train', 'val', 'test'):
        for step in cfg[f'{split}_dataloader'].dataset.pipeline:
            if step.type == 'LoadAnnotations':
                step.reduce_zero_label = False  # the void class is the last one
            if step.type == 'RandomCrop':
                step.ignore_index = VOID
    cfg.model.data_preprocessor.seg_pad_val = VOID
    for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
        head.ignore_index = VOID
    cfg.train_dataloader.batch_size = 4

    train(cfg, tmp_path / 'run', iterations=50, lr=1e-3, evaluate=False)

    assert fall(tmp_path / 'run') < 0.8


def test_cascade_on_coco(unpack, tmp_path):
    pytest.importorskip('mmcv.ops', reason='detection needs the compiled mmcv')
    root = str(unpack('coco200seg'))
    cfg = load('cascade-mask-rcnn_swin-tiny*tlalign*3x')
    cfg.pretrained = None
    small_cascade(cfg, classes=80)
    small_pictures(cfg, short=160)
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = root
    cfg.train_dataloader.batch_size = 2

    train(cfg, tmp_path / 'run', iterations=60, lr=3e-4, evaluate=False)

    assert fall(tmp_path / 'run') < 0.8
