"""Pictures are changed and shown in R, G, B, whatever order a data set gives."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS
from tiny_run import write_config

from mmtlalign.evaluation.classifier import load_classifier
from mmtlalign.evaluation.microscope.source import config_data, make_pairs
from mmtlalign.evaluation.mixed_batches import describe_images, mixed_batches
from mmtlalign.validation.config import load_config
from tools.evaluation.context import Context, Options

RED = np.full((32, 32, 3), (250, 20, 10), np.uint8)
MIXING = """
data_preprocessor.update(
    to_rgb={to_rgb}, mean=[10.0, 20.0, 30.0], std=[50.0, 60.0, 70.0],
    batch_augments=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
"""
HELD = """
train_dataloader['dataset'] = dict(
    type='HeldPixels', ann_file='', pipeline=[dict(type='PackInputs')]
)
val_dataloader['dataset'] = train_dataloader['dataset']
"""


@DATASETS.register_module()
class HeldPixels(BaseDataset):
    """Images in memory, R, G, B, as those of mmpretrain's CIFAR10."""

    def load_data_list(self):
        return [dict(img=RED, gt_label=number % 2) for number in range(16)]


@pytest.fixture(params=['files', 'pixels'])
def source(request, tmp_path):
    for folder in ('train/class0', 'train/class1', 'val/class0', 'val/class1'):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(8):
            cv2.imwrite(str(tmp_path / folder / f'{number}.png'), RED[..., ::-1])
    return HELD if request.param == 'pixels' else ''


@pytest.fixture(params=[True, False], ids=['swaps', 'keeps'])
def cfg(request, source, tmp_path):
    text = source + MIXING.format(to_rgb=request.param)
    return load_config(str(write_config(tmp_path, tmp_path, text)))


def is_red(pictures):
    return (np.asarray(pictures) == RED).all()


def test_the_network_reads_what_it_was_trained_on(cfg, tmp_path):
    none = dict(model=None)
    context = Context(cfg, '', none, 'auto', Path('data'), tmp_path, Options())
    batch = context.first_batch(2)
    assert is_red((255 * batch.images).round().byte().permute(0, 2, 3, 1))
    inputs = context.dataset[0]['inputs'][None]
    expected = context.classifiers['model'].data_preprocessor(dict(inputs=inputs))
    found = context.networks['model'].normalise(batch.images)
    torch.testing.assert_close(found[:1], expected['inputs'], rtol=0, atol=1e-4)


def test_mixed_batches_and_the_microscope_show_red(cfg):
    model, _ = load_classifier(cfg)
    _, pairs = make_pairs(model, *config_data(cfg, 2), 2)
    assert is_red([pairs[0].own, pairs[0].partner])
    (batch,) = mixed_batches(cfg, model, 1)
    (row,) = describe_images(model, batch, 1)
    assert is_red([row.own, row.partner, row.mixed])
