"""Classes are compared by name and order, and folders and lists are read in order."""

import functools
import json
import logging
import shutil
import types

import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from tiny_run import run_tool, train_to_end, write_config, write_images

from mmtlalign.engine.console import import_host
from mmtlalign.engine.runner import TaskRunner
from mmtlalign.errors import InputError
from mmtlalign.methods.knn import KNNHook
from mmtlalign.validation.classes import (
    check_checkpoint_classes,
    check_class_names,
    check_mixed_labels,
    check_single_class,
    check_topk,
)
from mmtlalign.validation.listed import check_labels
from mmtlalign.validation.samples import limit_labels

LOGGER = logging.getLogger('test_class_names')


@pytest.fixture
def data(tmp_path):
    return write_images(tmp_path / 'data')


@pytest.fixture
def train(monkeypatch, tmp_path, data):
    """Train the tiny classifier; return the message that it ends with, or None."""
    return functools.partial(train_to_end, monkeypatch, tmp_path, data)


@pytest.fixture
def warned(monkeypatch):
    """What mmengine's logger is warned of."""
    lines = []

    def handle(record):
        if record.levelno >= logging.WARNING:
            lines.append(record.getMessage())

    monkeypatch.setattr(MMLogger.get_current_instance(), 'handle', handle)
    return lines


def folders(root, *names, kind='.png'):
    """A folder for each class with two pictures."""
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(2):
            picture = np.zeros((8, 8, 3), np.uint8)
            cv2.imwrite(str(root / name / f'{number}{kind}'), picture)
    return root


def built(root, **options):
    """The data set of a folder as the tools build it."""
    import_host('mmpretrain')
    init_default_scope('mmpretrain')
    dataset = dict(type='CustomDataset', data_prefix=str(root), pipeline=[])
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dataset | options,
    )
    return TaskRunner.build_dataloader(loader).dataset


def metainfo(*classes):
    """A data set of any host, as the checks see it."""
    return types.SimpleNamespace(metainfo=dict(classes=classes))


def test_other_folders_in_validation_are_refused(train, data):
    (data / 'val/class1').rename(data / 'val/Class1')
    message = train()
    assert 'class1' in message and 'Class1' in message
    assert 'val_dataloader' in message and 'upper and lower case' in message


def test_folders_in_another_order_than_the_names_are_refused(tmp_path):
    root = folders(tmp_path / 'a', 'cat', 'dog')
    with pytest.raises(InputError, match=r"\['cat', 'dog'\] and \['dog', 'cat'\]"):
        check_class_names(
            dict(train=built(root, metainfo=dict(classes=('dog', 'cat'))))
        )
    # Other names for the folders are fine, as those of ImageNet.
    check_class_names(dict(train=built(root, metainfo=dict(classes=('b', 'a')))))


@pytest.mark.parametrize('classes', [('Dog', 'Cat'), ('dog', 'CAT'), ('fox', 'cat')])
def test_a_folder_with_the_name_of_another_class_is_refused(tmp_path, classes):
    root = folders(tmp_path / 'a', 'cat', 'dog')
    with pytest.raises(InputError, match=r"another order.*\['cat', 'dog'\]"):
        check_class_names(dict(train=built(root, metainfo=dict(classes=classes))))


def test_other_names_than_those_of_the_folders_are_told_once(tmp_path, warned):
    root = folders(tmp_path / 'a', 'cat', 'dog')
    right = built(root, metainfo=dict(classes=('Cat', 'DOG')))
    check_class_names(dict(train=right))
    assert not warned
    other = built(root, metainfo=dict(classes=('tabby', 'beagle')))
    check_class_names(dict(train=other, val=other))
    (line,) = warned
    assert line.startswith('train: ') and 'cat -> tabby, dog -> beagle' in line


@pytest.mark.parametrize('names', [('1', '2', '10'), ('01', '02', '10')])
def test_folders_with_numbers_are_sorted_as_text(tmp_path, warned, names):
    check_class_names(dict(train=built(folders(tmp_path / 'a', *names))))
    if names[0] == '01':
        assert not warned
    else:
        assert '1, 10, 2 have the labels 0, 1, 2' in warned[0] and len(warned) == 1


def test_names_in_another_order_are_printed():
    with pytest.raises(InputError, match=r"another order.*'a', 'b', 'c'.*'b', 'a'"):
        check_class_names(dict(train=metainfo(*'abc'), val=metainfo(*'bac')))
    with pytest.raises(InputError, match='only the first has c, only the second d'):
        check_class_names(dict(train=metainfo(*'abc'), val=metainfo(*'abd')))
    check_class_names(dict(train=metainfo(*'abc'), val=metainfo(*'abc')))


def test_checkpoint_of_other_classes():
    content = dict(meta=dict(dataset_meta=dict(classes=('a', 'b'))))
    check = functools.partial(
        check_checkpoint_classes, content, file='x.pth', logger=LOGGER
    )
    check(dict(test_dataloader=metainfo('a', 'b')))
    for setting in ('train_dataloader', 'test_dataloader'):
        with pytest.raises(InputError, match=r"'a', 'b'\] and \['b', 'a'"):
            check({setting: metainfo('b', 'a')})
    with pytest.raises(InputError, match='only the second c'):
        check(dict(test_dataloader=metainfo('a', 'c')))
    with pytest.raises(InputError, match='only the second c'):
        check(dict(train_dataloader=metainfo('a', 'c')), resume=True)


def test_fine_tuning_on_other_classes_is_told(caplog):
    content = dict(meta=dict(dataset_meta=dict(classes=('a', 'b'))))
    datasets = dict(train_dataloader=metainfo('a', 'c'))
    with caplog.at_level('WARNING'):
        check_checkpoint_classes(content, datasets, 'x.pth', LOGGER)
    assert 'Fine-tuning on other classes' in caplog.text


def test_a_test_split_is_compared_when_training_begins(train, data):
    shutil.copytree(data / 'val', data / 'test')
    split = 'test_dataloader = dict(val_dataloader, dataset=dict(dataset))\n'
    split += "test_dataloader['dataset']['data_prefix'] = 'test'\n"
    short = ('--cfg-options', 'train_cfg.max_epochs=1')
    (data / 'test/class1').rename(data / 'test/Class1')
    message = train(*short, text=split)
    assert 'Class1' in message and 'test_dataloader' in message
    shutil.rmtree(data / 'test')  # told in the test
    assert train(*short, text=split) is None


def test_data_of_hooks_are_compared():
    runner = TaskRunner.__new__(TaskRunner)
    hook = KNNHook(bank={}, queries={})
    data = {name: types.SimpleNamespace() for name in ('bank', 'queries')}
    data['bank'].dataset = metainfo('a', 'b')
    data['queries'].dataset = metainfo('b', 'a')
    hook.loaders = data
    hook.before_train = lambda runner: None
    runner._hooks = [hook]
    with pytest.raises(InputError, match='classes of KNNHook.queries'):
        runner.call_hook('before_train')


def test_a_margin_for_one_label_does_not_go_with_mixing():
    head = type('ArcFaceClsHead', (torch.nn.Module,), {})()
    model = torch.nn.Module()
    check_mixed_labels(model, [('head', head)])
    model.data_preprocessor = types.SimpleNamespace(batch_augments=object())
    with pytest.raises(InputError, match='model.head: ArcFaceClsHead .* mixes'):
        check_mixed_labels(model, [('head', head)])


def test_pictures_of_validation_are_looked_for_at_the_start(train, data, tmp_path):
    names = [f'class{number}/{index:02d}.png {number}'
             for number in range(2) for index in range(8)]  # fmt: skip
    (tmp_path / 'list.txt').write_text('\n'.join(names))
    lists = f"val_dataloader['dataset']['ann_file'] = '{tmp_path}/list.txt'\n"
    short = ('--cfg-options', 'train_cfg.max_epochs=1')
    assert train(*short, text=lists) is None
    (data / 'val/class1/07.png').unlink()
    message = train('--overwrite', *short, text=lists)
    assert 'val_dataloader: image' in message and 'class1/07.png' in message


def test_classes_of_a_checkpoint_in_a_test(monkeypatch, train, tmp_path, data):
    assert train('--cfg-options', 'train_cfg.max_epochs=1') is None
    path = tmp_path / 'work/epoch_1.pth'
    config = write_config(tmp_path, data)
    args = (config, path, '--work-dir', tmp_path / 't')
    run_tool(monkeypatch, 'test', *args)
    for split in ('train', 'val'):
        (data / split / 'class0').rename(data / split / 'zebra')
    with pytest.raises(SystemExit, match='zebra'):
        run_tool(monkeypatch, 'test', *args)


def test_classes_of_a_whole_model_that_a_hook_loads(train, tmp_path, data):
    short = ('--overwrite', '--cfg-options', 'train_cfg.max_epochs=1')
    assert train(*short) is None
    content = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)
    content['meta']['dataset_meta']['classes'] = ('class1', 'class0')
    torch.save(content, tmp_path / 'first.pth')

    def start(whole):
        hook = dict(type='mmtlalign.PretrainedBackboneHook', whole=whole)
        text = f"pretrained = '{tmp_path}/first.pth'\ncustom_hooks = [{hook}]\n"
        return train(*short, text=text)

    message = start(whole=True)
    assert 'first.pth' in message and 'the same names in another order' in message
    assert start(whole=False) is None


@pytest.mark.parametrize(
    ('pre', 'said'),
    [
        (dict(), None),
        (dict(mean=[0.0] * 3), 'trained on images with mean=[127'),
        (dict(to_rgb=True), 'trained on BGR images, and data_preprocessor gives RGB'),
    ],
)
def test_normalisation_of_a_checkpoint_in_a_test(
    monkeypatch, train, tmp_path, data, pre, said
):
    assert train('--cfg-options', 'train_cfg.max_epochs=1') is None
    path = tmp_path / 'work/epoch_1.pth'
    config = write_config(tmp_path, data, f'data_preprocessor.update({pre})\n')
    run_tool(monkeypatch, 'test', config, path, '--work-dir', tmp_path / 't')
    (log,) = (tmp_path / 't').glob('*/*.log')
    text = log.read_text()
    assert said in text if said else 'the same normalisation' not in text


def test_hidden_folders_are_no_classes(tmp_path):
    root = folders(tmp_path / 'a', 'cat', '.ipynb_checkpoints', '__MACOSX', 'dog')
    folders(root / 'cat', '.ipynb_checkpoints')
    dataset = built(root)
    assert dataset.metainfo['classes'] == ('cat', 'dog')
    assert len(dataset) == 4


def test_files_of_another_ending_are_told(tmp_path, warned):
    root = folders(tmp_path / 'a', 'cat', 'dog')
    built(root)
    assert not warned
    folders(root / 'cat', 'more', kind='.webp')
    built(root)
    (line,) = warned
    assert '2 of 6 images are left out: 2 .webp' in line


def test_nothing_but_other_endings(tmp_path):
    root = folders(tmp_path / 'a', 'cat', kind='.webp')
    with pytest.raises(InputError, match=r'is empty: no file ends in .*2 \.webp'):
        built(root)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('cat/0.png 0\ndog/1.png 1\n\n', None),
        ('\ufeffcat/0.png 0\ndog/1.png 1\n', None),
        ('cat/0.png 0\r\ndog/1.png 1\r\n', None),
        ('cat/0.png,0\ndog/1.png,1\n', "line 1 of .*'cat/0.png,0'.*not a comma"),
        ('cat/0.png 0\n\ndog/1.png 1\n', 'line 2 .* blank'),
        ('cat/0.png cat\n', "line 1 of .*'cat/0.png cat'"),
    ],
)
def test_lists_of_images(tmp_path, text, said):
    root = folders(tmp_path / 'a', 'cat', 'dog')
    (tmp_path / 'list.txt').write_bytes(text.encode())
    options = dict(ann_file=str(tmp_path / 'list.txt'))
    if said:
        with pytest.raises(InputError, match=said):
            built(root, **options)
        return
    dataset = built(root, **options)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert paths == [f'{root}/cat/0.png', f'{root}/dog/1.png']


def test_labels_of_validation_lists_are_checked_at_the_start(train, tmp_path):
    (tmp_path / 'list.txt').write_text('class0/00.png 0\nclass1/03.png 2\n')
    lists = f"val_dataloader['dataset']['ann_file'] = '{tmp_path}/list.txt'\n"
    message = train('--cfg-options', 'train_cfg.max_epochs=1', text=lists)
    assert 'val/class1/03.png' in message and 'its label is 2' in message
    assert not list((tmp_path / 'work').glob('*.pth'))  # before the first epoch


def test_an_image_with_two_labels_in_a_list_is_told(tmp_path, warned):
    root = folders(tmp_path / 'a', 'cat', 'dog')
    path = tmp_path / 'list.txt'
    path.write_text('cat/0.png 0\ncat/1.png 0\ncat/0.png 0\ncat/1.png 1\n')
    dataset = built(root, ann_file=str(path))
    limit_labels(dataset, 2)
    check_labels(dataset, 'train_dataloader')
    (line,) = warned
    assert '1 images are listed' in line and 'cat/1.png (0 and 1)' in line


def test_several_labels_for_a_softmax_are_refused(train, data, tmp_path):
    images = [dict(img_path='class0/00.png', gt_label=[0, 1])] * 8
    content = dict(metainfo=dict(classes=['class0', 'class1']), data_list=images)
    (data / 'labels.json').write_text(json.dumps(content))
    lists = """
train_dataloader['dataset'].update(type='MultiLabelDataset', ann_file='labels.json')
model['type'] = 'mmtlalign.MixClassifier'
"""
    message = train('--cfg-options', 'train_cfg.max_epochs=1', text=lists)
    assert 'class0/00.png' in message and 'it has 2 labels, but the softmax' in message
    loss = """
model['head']['loss'] = dict(type='CrossEntropyLoss', use_sigmoid=True)
model['train_cfg'] = dict(augments=dict(type='Mixup', alpha=0.8))
model.pop('type')
model['type'] = 'ImageClassifier'
"""
    assert train('--overwrite', '--cfg-options', 'train_cfg.max_epochs=1',
                 text=lists + loss) is None  # fmt: skip


def test_lists_in_another_encoding(tmp_path):
    root = folders(tmp_path / 'a', 'cat')
    path = tmp_path / 'list.txt'
    path.write_text('cat/0.png 0\n', encoding='utf-16')
    with pytest.raises(InputError, match='list.txt.* save it as UTF-8'):
        built(root, ann_file=str(path))


def test_images_without_a_label_are_named(train):
    message = train('--cfg-options', 'train_dataloader.dataset.with_label=False')
    assert 'it has no label, but the head needs one' in message


def test_topk_of_more_classes_than_there_are(train):
    message = train('--cfg-options', 'val_evaluator.topk=(1,5)')
    assert 'topk of Accuracy in val_evaluator is (1, 5), but there are 2' in message
    assert 'set topk=(1,)' in message


def test_metric_of_another_number_of_classes(train):
    metric = 'val_evaluator._delete_=True,val_evaluator.type=ConfusionMatrix'.split(',')
    message = train('--cfg-options', *metric, 'val_evaluator.num_classes=3')
    assert 'num_classes=3 of ConfusionMatrix in val_evaluator' in message


def test_topk_of_a_head():
    head = torch.nn.Module()
    head.topk, head.num_classes, head.cal_acc = (1, 5), 3, True
    with pytest.raises(InputError, match='model.head.topk is'):
        check_topk([('head', head)], None, None, 'train_dataloader')
    head.cal_acc = False  # not counted in training
    check_topk([('head', head)], None, None, 'train_dataloader')


def test_one_class_needs_more_than_a_softmax(train, data):
    for split in ('train', 'val'):
        shutil.rmtree(data / split / 'class1')
    options = ('model.head.num_classes=1', 'data_preprocessor.num_classes=1')
    message = train('--cfg-options', *options)
    assert 'model.head.num_classes=1 with softmax' in message
    assert 'num_classes=2' in message and 'MultiLabelLinearClsHead' in message


def test_one_class_with_a_sigmoid_is_right():
    head, loss = torch.nn.Module(), torch.nn.Module()
    head.num_classes, head.loss_decode, loss.use_sigmoid = 1, loss, True
    check_single_class([('decode_head', head), ('roi_head.bbox_head', torch.nn.ReLU())])
    loss.use_sigmoid = False
    with pytest.raises(InputError, match='out_channels=1'):
        check_single_class([('decode_head', head)])
