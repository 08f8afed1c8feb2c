"""tools/evaluate.py on the other test sets of ImageNet's classes."""

import json
import shutil
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from repository import tool

from mmtlalign.datasets.imagenet_classes import (
    real_labels,
    subset_indices,
    wordnet_ids,
)
from mmtlalign.evaluation.classifier import load_classifier
from mmtlalign.evaluation.corruptions import ALEXNET_ERRORS, CORRUPTIONS
from mmtlalign.evaluation.pictures import Pictures
from mmtlalign.validation.config import load_config

CONFIG = """
default_scope = 'mmpretrain'
data_preprocessor = dict(
    num_classes=1000, mean=[120.0, 115.0, 105.0], std=[60.0, 58.0, 57.0], to_rgb=True
)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
        img_size=32,
        patch_size=16,
    ),
    head=dict(type='VisionTransformerClsHead', num_classes=1000, in_channels=16),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(
        type='CustomDataset',
        data_root={root!r},
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=32),
            dict(type='PackInputs'),
        ],
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = dict(type='Accuracy', topk=(1,))
test_cfg = dict()
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Folder with a config, a checkpoint, and every set but ImageNet-C."""
    folder = tmp_path_factory.mktemp('sets')
    data, ids = folder / 'data', wordnet_ids()
    draw = np.random.default_rng(0)

    def write(path, size=16):
        path.parent.mkdir(parents=True, exist_ok=True)
        image = draw.integers(0, 256, (2, 2, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(image, (size, size)))

    for which in 'ar':
        for index in subset_indices(which):
            write(data / f'imagenet-{which}' / ids[index] / 'a.JPEG')
    for index in subset_indices('o'):
        write(data / 'imagenet-o' / ids[index] / 'a.JPEG')
    for index, name in enumerate(ids):
        write(data / 'imagenet-sketch' / name / 'a.JPEG')
        write(data / 'imagenetv2/imagenetv2-matched-frequency' / str(index) / 'a.jpeg')
    # Names of the validation images, by which ReaL knows its labels.
    for number, name in enumerate(ids, 1):
        write(data / 'imagenet/val' / name / f'ILSVRC2012_val_{number:08d}.JPEG')
    (folder / 'net.py').write_text(CONFIG.format(root=str(data / 'imagenet/val')))
    model, _ = load_classifier(load_config(str(folder / 'net.py')))
    with torch.no_grad():
        model.head.layers.head.weight.normal_(std=1.0)
    torch.save(dict(state_dict=model.state_dict()), folder / 'net.pth')
    return folder


def evaluate(run, monkeypatch, out, *arguments):
    given = [str(run / 'net.py'), str(run / 'net.pth'), '--out', str(out)]
    given += ['--data', str(run / 'data'), '--workers', '0', *map(str, arguments)]
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', *given])
    with pytest.raises(SystemExit) as end:
        tool('evaluate').main()
    assert end.value.code == 0
    items = json.loads((out / 'results.json').read_text())['items']
    return {name: item['rows'] for name, item in items.items()}


def top1_of(run, dataset, classes=None):
    """Accuracy in percent, computed in a plain loop; labels by index."""
    cfg = load_config(str(run / 'net.py'))
    model, _ = load_classifier(cfg, str(run / 'net.pth'))
    right = []
    for path, labels in dataset:
        image = cv2.resize(cv2.imread(str(path)), (32, 32))
        inputs = torch.from_numpy(image).permute(2, 0, 1)
        with torch.no_grad():
            batch = model.data_preprocessor(dict(inputs=inputs[None]))
            scores = model(batch['inputs'], mode='tensor')[0]
        best = int(scores.argmax())
        if classes is not None:
            best = classes[int(scores[list(classes)].argmax())]
        right.append(best in labels)
    return 100 * np.mean(right), len(right)


def test_sets(run, monkeypatch, tmp_path):
    names = ('imagenet-a', 'imagenet-r', 'imagenet-o', 'sketch', 'v2', 'real')
    rows = evaluate(
        run, monkeypatch, tmp_path, '--suite', 'robustness', '--items', *names
    )
    data, ids = run / 'data', wordnet_ids()
    real = [
        (data / 'imagenet/val' / name / f'ILSVRC2012_val_{n + 1:08d}.JPEG', labels)
        for n, (name, labels) in enumerate(zip(ids, real_labels()))
        if labels
    ]
    v2 = data / 'imagenetv2/imagenetv2-matched-frequency'
    expected = dict(
        v2=top1_of(run, [(v2 / str(n) / 'a.jpeg', [n]) for n in range(1000)]),
        real=top1_of(run, real),
    )
    for which in 'ar':
        classes = subset_indices(which)
        root = data / f'imagenet-{which}'
        images = [(root / ids[n] / 'a.JPEG', [n]) for n in classes]
        expected[f'imagenet-{which}'] = top1_of(run, images, classes)
    for name, (accuracy, count) in expected.items():
        assert rows[name][0]['metrics']['top-1 %'] == pytest.approx(accuracy)
        assert rows[name][0]['n'] == count
    # Of random images, none tells more than another.
    (found,) = rows['imagenet-o']
    assert found['n'] == 400 and found['metrics']['AUPR of chance %'] == 50
    assert 30 < found['metrics']['AUROC %'] < 70
    assert rows['imagenet-a'][1]['setting'] == 'clean'


def test_a_set_that_changed_is_measured_anew(run, monkeypatch, tmp_path):
    given = (run, monkeypatch, tmp_path, '--items', 'imagenet-a')
    (before, *_) = evaluate(*given)['imagenet-a']
    assert evaluate(*given, '--resume')['imagenet-a'][0] == before
    folder = run / 'data/imagenet-a' / wordnet_ids()[subset_indices('a')[0]]
    shutil.copy(folder / 'a.JPEG', folder / 'b.JPEG')
    (after, *_) = evaluate(*given, '--resume')['imagenet-a']
    (folder / 'b.JPEG').unlink()
    assert after['n'] == before['n'] + 1


def test_c_gives_mce(run, monkeypatch, tmp_path):
    root = run / 'data/imagenet-c'
    image = np.random.default_rng(1).integers(0, 256, (224, 224, 3), np.uint8)
    ids = wordnet_ids()[:1]
    for corruption in CORRUPTIONS:
        for severity in range(1, 6):
            folder = root / corruption / str(severity) / ids[0]
            folder.mkdir(parents=True)
            cv2.imwrite(str(folder / 'a.JPEG'), image)
    from mmtlalign.datasets.corrupted import ImageNetC

    original = ImageNetC.__init__

    def allow(self, *args, **kwargs):
        original(self, *args, **kwargs, allow_missing=True)

    monkeypatch.setattr(ImageNetC, '__init__', allow)
    seen = set()
    stock = Pictures.__getitem__

    def look(self, index):
        found = stock(self, index)
        seen.add(tuple(found[0].shape[1:]))
        return found

    monkeypatch.setattr(Pictures, '__getitem__', look)
    rows = evaluate(
        run,
        monkeypatch,
        tmp_path,
        *('--suite', 'robustness', '--items', 'imagenet-c'),
    )['imagenet-c']
    error = rows[0]['metrics']['mean error %']
    assert error in (0, 100)
    mean = np.mean([error / alexnet for alexnet in ALEXNET_ERRORS.values()])
    assert rows[0]['metrics']['mCE'] == pytest.approx(mean)
    assert [row['setting'] for row in rows[1:16]] == list(CORRUPTIONS)
    assert seen == {(32, 32)}
    told = '32x32, resized from 224x224'
    assert all(row['protocol'] == dict(pixels=told) for row in rows)


def test_one_missing_class_stops_the_run(run, monkeypatch, tmp_path):
    first = run / 'data/imagenet-r' / wordnet_ids()[subset_indices('r')[0]]
    first.rename(run / 'moved')
    try:
        given = [str(run / 'net.py'), str(run / 'net.pth'), '--out', str(tmp_path)]
        given += ['--data', str(run / 'data'), '--items', 'imagenet-r']
        monkeypatch.setattr(sys, 'argv', ['evaluate.py', *given])
        with pytest.raises(SystemExit) as end:
            tool('evaluate').main()
        assert first.name in str(end.value.code)
        assert not (tmp_path / 'results.json').exists()
    finally:
        (run / 'moved').rename(first)


@pytest.mark.parametrize(
    'name, setting, kind, arch, value',
    [
        ('imagenet-a', '', 'VisionTransformer', 'deit-tiny', 7.21),
        ('imagenet-a', '', 'mmpretrain.SwinTransformer', 'small', 32.37),
        ('imagenet-a', '', 'mmtlalign.CASwin', 'tiny', None),
        ('imagenet-a', '', 'mmtlalign.LVViT', 'small', None),
        ('imagenet-a', '', 'BEiTViT', 'base', None),
        ('imagenet-a', 'clean', 'SwinTransformer', 'small', None),
        ('v2', 'matched-frequency', 'SwinTransformer', 'base', 72.4),
        ('v2', 'top-images', 'SwinTransformer', 'base', None),
    ],
)
def test_published_values_are_of_the_same_network_and_set(
    name, setting, kind, arch, value
):
    from tools.evaluation.rows import Row
    from tools.evaluation.test_sets import ITEMS

    backbone = dict(type=kind, arch=arch, patch_size=16)
    cfg = Config(dict(model=dict(backbone=backbone)))
    context = SimpleNamespace(cfg=cfg, image_size=(224, 224))
    (item,) = [item for item in ITEMS if item.name == name]
    (row,) = item.refer(context, [Row(name, setting, 'model', {'top-1 %': 1.0}, 1)])
    assert (row.reference or {}).get('value') == value
