"""Unreadable images and checkpoints stop a run with the file's name."""

import functools
import importlib
import json

import cv2
import numpy as np
import pytest
import torch
from repository import ROOT
from tiny_run import run_tool, train_to_end, write_config, write_images

import mmtlalign.methods  # noqa: F401  # registers the heads
from mmtlalign.errors import short_errors
from mmtlalign.registry import MODELS
from mmtlalign.tracing.attach import attach
from mmtlalign.validation.samples import BrokenSampleError, name_broken_samples


@pytest.fixture
def data(tmp_path):
    """A tiny data set of this test alone."""
    return write_images(tmp_path / 'data')


@pytest.fixture
def train(monkeypatch, tmp_path, data):
    """Train the tiny config; return the message that it ends with, or None."""
    return functools.partial(train_to_end, monkeypatch, tmp_path, data)


FAULTS = {
    'empty': lambda path: path.write_bytes(b''),
    'text': lambda path: path.write_text('This is no image.'),
    'missing': lambda path: path.unlink(),
    'cut': lambda path: path.write_bytes(path.read_bytes()[:60]),
}


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('fault', FAULTS)
def test_unreadable_image_is_named(monkeypatch, tmp_path, data, fault, workers):
    config = write_config(tmp_path, data)
    path = data / 'train' / 'class1' / '05.png'
    if fault == 'missing':
        # Gone after the folder has been listed.
        monkeypatch.setattr(
            'mmpretrain.datasets.CustomDataset._find_samples',
            lambda self: [(str(path), 0)] * 8,
        )
    FAULTS[fault](path)
    workers = f'train_dataloader.num_workers={workers}'
    args = (config, '--work-dir', tmp_path / 'w', '--cfg-options', workers)
    with pytest.raises(SystemExit) as stop:
        run_tool(monkeypatch, 'train', *args)
    message = str(stop.value)
    assert f"image '{path}' (img_path) cannot be read" in message
    assert 'Traceback' not in message


def test_cut_jpeg_is_named(monkeypatch, tmp_path, data):
    image = np.random.RandomState(0).randint(0, 255, (64, 64, 3), dtype=np.uint8)
    path = data / 'train' / 'class0' / 'cut.jpg'
    encoded = cv2.imencode('.jpg', image)[1].tobytes()
    path.write_bytes(encoded[:200])
    config = write_config(tmp_path, data)
    with pytest.raises(SystemExit, match='cut.jpg'):
        run_tool(monkeypatch, 'train', config, '--work-dir', tmp_path / 'w')


def segmentation(folder, bad):
    """An mmseg data set of one image; its label image is the broken file."""
    from mmseg.registry import DATASETS

    (folder / 'images').mkdir()
    cv2.imwrite(str(folder / 'images' / bad.name), np.zeros((8, 8, 3), np.uint8))
    return DATASETS.build(
        dict(
            type='mmseg.BaseSegDataset',
            data_prefix=dict(
                img_path=str(folder / 'images'), seg_map_path=str(bad.parent)
            ),
            img_suffix='.png',
            seg_map_suffix='.png',
            metainfo=dict(classes=('a',), palette=[[0, 0, 0]]),
            pipeline=[
                dict(type='mmseg.LoadImageFromFile'),
                dict(type='mmseg.LoadAnnotations'),
            ],
        )
    )


def detection(folder, bad):
    """An mmdet data set whose one image is the broken file."""
    pytest.importorskip('mmcv.ops', reason='mmdet needs the compiled mmcv')
    from mmdet.registry import DATASETS

    annotations = folder / 'coco.json'
    record = dict(id=1, file_name=bad.name, width=8, height=8)
    box = dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 4, 4], area=16, iscrowd=0)
    annotations.write_text(
        json.dumps(
            dict(
                images=[record],
                annotations=[box],
                categories=[dict(id=1, name='a')],
            )
        )
    )
    return DATASETS.build(
        dict(
            type='mmdet.CocoDataset',
            ann_file=str(annotations),
            data_prefix=dict(img=str(bad.parent)),
            metainfo=dict(classes=('a',)),
            pipeline=[dict(type='mmdet.LoadImageFromFile')],
        )
    )


@pytest.mark.parametrize(
    ('build', 'key'), [(segmentation, 'seg_map_path'), (detection, 'img_path')]
)
def test_unreadable_files_are_named_in_the_other_hosts(tmp_path, build, key):
    bad = tmp_path / 'files' / 'bad.png'
    bad.parent.mkdir()
    bad.write_text('no image')
    dataset = build(tmp_path, bad)
    name_broken_samples(dataset)
    with pytest.raises(BrokenSampleError) as error:
        dataset[0]
    assert f"image '{bad}' ({key}) cannot be read" in str(error.value)


def test_wrapped_datasets_are_followed(data):
    from mmengine.registry import DATASETS

    inner = dict(type='mmpretrain.CustomDataset', data_root=str(data / 'train'))
    inner['pipeline'] = [dict(type='mmpretrain.LoadImageFromFile')]
    wrapped = DATASETS.build(
        dict(
            type='RepeatDataset',
            times=2,
            dataset=dict(type='ConcatDataset', datasets=[inner, inner]),
        )
    )
    name_broken_samples(wrapped)
    name_broken_samples(wrapped)  # twice changes nothing
    (data / 'train' / 'class0' / '00.png').write_text('')
    with pytest.raises(BrokenSampleError, match='00.png.*it is empty'):
        wrapped[len(wrapped) // 2]
    assert wrapped.dataset.datasets[0].pipeline.transforms


def test_error_of_this_package_is_shown_without_traceback(train):
    types = (
        "model['type'] = 'mmtlalign.MixClassifier'\ndata_preprocessor['num_classes']"
    )
    message = train(text=f'{types} = 3')
    assert 'data_preprocessor.num_classes=3 but head.num_classes=2' in message
    assert 'tiny_' in message


def test_other_faults_of_a_pipeline_name_the_sample(train):
    message = train(text="pipeline.insert(1, dict(type='Resize', scale=(0, 0)))")
    assert 'the data pipeline failed on the sample with img_path' in message
    assert 'class' in message


def truncate(path):
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    """Overwrite the values of one tensor of a checkpoint, but not its checksum."""
    content = bytearray(path.read_bytes())
    head = torch.load(path, weights_only=False)['state_dict']['head.layers.head.weight']
    at = content.index(head.numpy().tobytes())
    content[at : at + 8] = b'\x01' * 8
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (truncate, 'cut short'),
        (overwrite, 'checksum'),
        (lambda path: path.write_bytes(b''), 'is not a checkpoint: it is empty'),
        (lambda path: path.write_text('<html>404</html>'), 'is a web page'),
        (lambda path: path.unlink(), 'does not exist'),
        (lambda path: torch.save([1, 2], path), 'holds a list'),
        (lambda path: torch.save(dict(state_dict={}), path), "has no 'meta'"),
    ],
)
def test_broken_checkpoint_is_named(train, tmp_path, damage, said):
    train('--cfg-options', 'train_cfg.max_epochs=1')
    path = tmp_path / 'work' / 'epoch_1.pth'
    damage(path)
    message = train('--resume')
    assert str(path) in message
    assert said in message


def test_broken_load_from_is_named(train, tmp_path):
    path = tmp_path / 'broken.pth'
    path.write_bytes(b'PK\x03\x04 no more')
    message = train('--cfg-options', f'load_from={path}')
    assert str(path) in message
    assert 'is cut short' in message


@pytest.mark.parametrize('change', ['missing', 'shape'])
def test_partial_checkpoint_is_no_test(monkeypatch, train, tmp_path, data, change):
    train('--cfg-options', 'train_cfg.max_epochs=1')
    whole = tmp_path / 'work' / 'epoch_1.pth'
    weights = torch.load(whole, weights_only=False)['state_dict']
    name = 'head.layers.head.weight'
    weights[name] = weights[name][:1]
    if change == 'missing':
        del weights[name]
    partial = tmp_path / 'partial.pth'
    torch.save(dict(state_dict=weights), partial)
    config = write_config(tmp_path, data)
    args = ('--work-dir', tmp_path / 't')
    with pytest.raises(SystemExit) as stop:
        run_tool(monkeypatch, 'test', config, partial, *args)
    assert str(partial) in str(stop.value)
    assert name in str(stop.value)
    # Weights without the rest of a training state are enough otherwise.
    whole_weights = torch.load(whole, weights_only=False)['state_dict']
    torch.save(dict(state_dict=whole_weights), partial)
    run_tool(monkeypatch, 'test', write_config(tmp_path, data), partial, *args)


def test_missing_data_is_one_line(tmp_path, monkeypatch):
    """A data set that is not there names the folder and how to move it."""
    config = next((ROOT / 'configs/segmentation').glob('swin-tiny*.py'))
    options = ['pretrained=None', 'train_dataloader.num_workers=0']
    options += ['train_dataloader.persistent_workers=False']
    with pytest.raises(SystemExit) as stop:
        run_tool(
            monkeypatch, 'train', config, '--work-dir', tmp_path,
            '--cfg-options', f'data_root={tmp_path}/nowhere', *options,
        )  # fmt: skip
    (line,) = str(stop.value.code).strip().splitlines()
    assert 'nowhere' in line and '--cfg-options data_root=DIR' in line


def test_backbone_that_cannot_be_traced_is_one_line():
    with (
        pytest.raises(SystemExit, match=r'cannot be traced.*\(config my_config.py\)'),
        short_errors('my_config.py'),
    ):
        attach(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    'config',
    [
        dict(type='mmtlalign.TLAlignLinearClsHead', num_classes=3, in_channels=4),
        dict(type='mmtlalign.CASwin', arch='tiny'),
    ],
)
def test_an_unknown_key_names_the_class_of_the_config(config):
    name = config['type'].removeprefix('mmtlalign.')
    with (
        pytest.raises(SystemExit, match=rf"my.py: {name}\.__init__\(\) .* 'wrong'"),
        short_errors('my.py'),
    ):
        MODELS.build(dict(config, wrong=1))


@pytest.mark.parametrize(
    'registry, name, meant',
    [
        ('MODELS', 'mmtlalign.TLAlignLinearClsHed', 'mmtlalign.TLAlignLinearClsHead'),
        ('MODELS', 'TLAlignLinearClsHed', 'TLAlignLinearClsHead'),
        ('BATCH_AUGMENTS', 'mmtlalign.CutMx', 'mmtlalign.CutMix'),
        ('BATCH_AUGMENTS', 'CutMx', 'CutMix'),
    ],
)
def test_a_misspelt_type_names_the_nearest(registry, name, meant):
    registries = importlib.import_module('mmtlalign.registry')
    ours = getattr(registries, registry)
    with (
        pytest.raises(SystemExit, match=rf"my.py: type='{name}' .* mean '{meant}'\?$"),
        short_errors('my.py'),
    ):
        ours.build(dict(type=name))
    with (
        pytest.raises(
            SystemExit, match='registry. Import the module that registers it.$'
        ),
        short_errors('my.py'),
    ):
        ours.build(dict(type='Xyzzy123'))


@pytest.mark.parametrize(
    'text, message',
    [
        (
            "custom_hooks = dict(type='EMAHook')",
            'custom_hooks=.* must be a list of dicts',
        ),
        ("optim_wrapper = dict(optimizer=dict(type='AdmW'))", "Did you mean 'AdamW'"),
    ],
)
def test_hooks_and_optimizers_that_are_none(text, message, tmp_path, monkeypatch):
    config = write_config(tmp_path, write_images(tmp_path / 'data'), text + '\n')
    with pytest.raises(SystemExit, match=message):
        run_tool(monkeypatch, 'train', config, '--work-dir', tmp_path / 'w')


def test_a_warm_up_longer_than_the_training(tmp_path, monkeypatch, capsys):
    text = (
        "param_scheduler = [dict(type='LinearLR', end=1),\n"
        "    dict(type='CosineAnnealingLR', begin=5)]\n"
    )
    config = write_config(tmp_path, write_images(tmp_path / 'data'), text)
    with pytest.raises(SystemExit, match='begins after the training has ended'):
        run_tool(monkeypatch, 'train', config, '--work-dir', tmp_path / 'w')


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_images_of_different_sizes_are_named(train, data, split, workers):
    for index in range(4):
        path = data / split / 'class1' / f'0{index}.png'
        cv2.imwrite(str(path), np.zeros((32, 40, 3), np.uint8))
    message = train(
        '--cfg-options',
        *(f'{s}_dataloader.num_workers={workers}' for s in ('train', 'val')),
        text="train_dataloader['collate_fn'] = dict(type='default_collate')\n"
        "val_dataloader['collate_fn'] = dict(type='default_collate')\n"
        "train_dataloader['batch_size'] = val_dataloader['batch_size'] = 16\n",
    )
    assert 'differ in shape' in message and "type='Resize'" in message
    assert f'{data}/{split}/class1/0' in message and 'has (3, 32, 40)' in message
    assert f'{data}/{split}/class' in message and 'has (3, 32, 32)' in message
    assert '\n' not in message.strip()


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (('train_cfg.val_interval=0',), 'train_cfg.val_interval=0: give 1 or more'),
        (('save_best=accuracy/top5',), 'give accuracy/top1. Name one'),
        (('save_best=acc', 'rule=greater'), 'give accuracy/top1. Name one'),
    ],
)
def test_settings_of_the_validation_are_checked_first(train, options, said, tmp_path):
    hook = 'default_hooks.checkpoint.'
    message = train(
        '--cfg-options', *(o if '.' in o else f'{hook}{o}' for o in options)
    )
    assert said in message
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_a_metric_that_is_not_given_is_named(train):
    """Where the names of a metric are known only after the first validation."""
    message = train(
        '--cfg-options',
        'default_hooks.checkpoint.save_best=single-label/recal',
        'default_hooks.checkpoint.rule=greater',
        text="val_evaluator = dict(type='SingleLabelMetric', items=['recall'])\n",
    )
    assert "save_best='single-label/recal'" in message
    assert 'give single-label/recall. Name one' in message
