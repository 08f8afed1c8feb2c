"""The config in a checkpoint: read as data and never run, and what it says."""

import pytest
from convert_nets import swin
from exported_files import checkpoint
from mmengine.config import Config
from repository import ROOT

from mmtlalign.checkpoint.config_text import read_config_text
from mmtlalign.checkpoint.export import (
    describe_backbone,
    export_backbone,
    image_size,
)
from mmtlalign.checkpoint.normalisation import channel_order
from mmtlalign.errors import InputError


@pytest.mark.parametrize(
    'path',
    [
        'tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py',
        'quickstart/tlalign_swin-mini-p4-w3_digits-48px.py',
    ],
)
def test_config_is_read_as_mmengine_reads_it(path):
    config = Config.fromfile(ROOT / 'configs' / path)
    assert read_config_text(config.pretty_text, path) == config.to_dict()


@pytest.mark.parametrize(
    'text, message',
    [
        ("import os\nmodel = dict(type='x')", 'line 1.*import os'),
        ("a = 1\nmodel = dict(a=__import__('os').system('x'))", 'line 2.*__import__'),
        ('model = [x for x in range(3)]', 'line 1'),
        ('model = dict(**{1: 2})', 'line 1'),
        ("model = 'x'.join([])", 'line 1.*join'),
        ('model = other', 'line 1.*other'),
        ('model = {**{}}', 'line 1'),
        ('model = -"x"', 'line 1'),
        ('model.a = 1', 'line 1'),
        ('model = dict(', 'line 1 of the config is not Python'),
    ],
)
def test_config_that_is_code_is_refused(text, message, tmp_path):
    source = checkpoint(swin(), tmp_path / 'a.pth', meta=dict(cfg=text))
    with pytest.raises(InputError, match=message):
        export_backbone(source, str(tmp_path / 'out.pth'))


@pytest.mark.parametrize(
    'path, train, test, classes',
    [
        ('tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py', 224, 224, 1000),
        ('transmix/transmix_deit-small-p16_8xb32-coslr-310e_in1k.py', 224, 224, 1000),
        # Images of CIFAR are tested as they are, and come as RGB arrays.
        (
            'tlalign/tlalign_deit-tiny-p4_1xb128-coslr-200e_cifar10-32px.py',
            32,
            None,
            10,
        ),
        ('quickstart/tlalign_swin-mini-p4-w3_digits-48px.py', 48, 48, 10),
    ],
)
def test_facts_of_our_recipes(path, train, test, classes):
    description = describe_backbone(Config.fromfile(ROOT / 'configs' / path), path)
    sizes = dict(train=[train] * 2, test=[test] * 2 if test else None)
    assert description['image_size'] == sizes and description['num_classes'] == classes
    assert description['normalisation']['channel_order'] == 'RGB'
    assert (
        100
        < description['normalisation']['mean'][2]
        < description['normalisation']['mean'][0]
    )


def test_size_of_a_resizing_step_is_height_and_width():
    resize, crop = dict(type='Resize', scale=(2048, 512)), dict(crop_size=(512, 640))
    assert image_size([resize]) == [512, 2048]
    assert image_size([resize, dict(crop, type='RandomCrop')]) == [512, 640]


def test_channel_order_is_that_of_the_input():
    def order(*kinds, **pre):
        dataset = dict(pipeline=[dict(type=kind) for kind in kinds])
        loader = dict(dataset=dataset)
        return channel_order(dict(train_dataloader=loader, data_preprocessor=pre))

    file, pack = 'LoadImageFromFile', 'PackInputs'
    # CIFAR's arrays as they are, and files with their channels swapped, are equal.
    assert order(pack, to_rgb=False) == order(file, pack, to_rgb=True) == 'RGB'
    assert order(file, pack, bgr_to_rgb=False) == order(pack, to_rgb=True) == 'BGR'
    # Transforms and preprocessors inside others.
    inner = dict(type='TransformBroadcaster', transforms=[dict(type=file)])
    loader = dict(dataset=dict(pipeline=[inner, dict(type=pack)]))
    several = dict(type='MultiBranchDataPreprocessor')
    several.update(data_preprocessor=dict(bgr_to_rgb=True))
    config = dict(train_dataloader=loader, model=dict(data_preprocessor=several))
    assert channel_order(config) == 'RGB'
    assert channel_order(dict(test_dataloader=[loader])) is None
    # A loader of one's own, an old config that normalises in its pipeline.
    assert order('LoadTiff', pack, to_rgb=True) is order(file, 'Normalize') is None
