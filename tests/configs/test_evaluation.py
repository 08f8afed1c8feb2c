"""Each test set of configs/_base_/evaluation is tested by `tools/test.py`."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import needs_corruptions
from imagenet_files import write_sets
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from repository import ROOT
from tiny_run import run_tool

from mmtlalign.datasets.imagenet_classes import subset_indices

BASES = ROOT / 'configs/_base_/evaluation'
CONFIG = """
_base_ = ['{root}/configs/_base_/evaluation/{name}.py',
          '{root}/configs/_base_/runtime_cls.py']
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32),
        img_size={size},
        patch_size={patch},
    ),
    head=dict(type='VisionTransformerClsHead', num_classes={classes}, in_channels=16),
)
data_preprocessor = dict(num_classes={classes}, mean=[127.0] * 3, std=[64.0] * 3)
"""
# What of a data set, and where its folder of labels is in a path.
OPTIONS = dict(
    imagenet_c=(
        'dataset.severity=[1,2]',
        'dataset.corruption=["fog","contrast"]',
        'dataset.indices=[0,1,1500,2500,3999]',
    ),
    imagenet_o=('dataset.datasets.0.indices=9', 'dataset.datasets.1.indices=8'),
    cifar10_c=('dataset.corruption=["fog","contrast"]',),
    imagenet_corrupted=('dataset.indices=6',),
    imagenet_pgd=('dataset.indices=12',),
)
NAMES = [path.stem for path in sorted(BASES.glob('*.py'))]
RUNNABLE = [
    pytest.param(n, marks=needs_corruptions if n == 'imagenet_corrupted' else ())
    for n in NAMES
]
FIGURES = {
    'imagenet_a': {'subset/top1', 'subset/standard_error', 'calibration/rms'},
    'imagenet_c': {'corruption/mean_error', 'corruption/error/fog'},
    'imagenet_o': {'out_of_distribution/aupr', 'out_of_distribution/base_rate'},
    'imagenet_real': {'real/top1', 'real/top5'},
    'cifar10_c': {'corruption/mean_error', 'corruption/error/contrast'},
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp('data'))


@pytest.fixture
def evaluate(tmp_path, monkeypatch, data):
    """Figures and predictions of a tiny model, or the message it ends with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data').symlink_to(data)

    def run(name, *options, classes=1000, meta=None):
        cifar = name.startswith('cifar')
        classes = 10 if cifar else classes
        sizes = dict(size=32, patch=8) if cifar else dict(size=224, patch=56)
        config = tmp_path / f'{name}_{len(options)}.py'
        text = CONFIG.format(root=ROOT, name=name, classes=classes, **sizes)
        config.write_text(text)
        cfg = Config.fromfile(config)
        init_default_scope('mmpretrain')
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        torch.nn.init.normal_(model.head.layers.head.weight, std=0.5)
        state = dict(state_dict=model.state_dict(), meta=dict(dataset_meta=meta or {}))
        torch.save(state, tmp_path / 'model.pth')
        given = [f'test_dataloader.{o}' for o in (*OPTIONS.get(name, ()), *options)]
        given += ['test_dataloader.num_workers=0']
        given += ['test_dataloader.persistent_workers=False']
        work = tmp_path / f'work{len(list(tmp_path.glob("work*")))}'
        args = ('--work-dir', work, '--out', tmp_path / 'out.pkl')
        try:
            run.args = (config, tmp_path / 'model.pth', '--cfg-options', *given)
            run_tool(monkeypatch, 'test', *run.args[:2], *args, *run.args[2:])
        except SystemExit as stop:
            return str(stop.code), []
        (file,) = work.glob('*/*.json')
        out = pickle.loads((tmp_path / 'out.pkl').read_bytes())
        return json.loads(file.read_text()), out

    return run


def test_every_base_is_data_metric_and_loop_alone():
    for name in NAMES:
        keys = {'data_root', 'test_pipeline', 'test_dataloader', 'test_evaluator'}
        own = {k for k in Config.fromfile(BASES / f'{name}.py') if k[0] != '_'}
        assert own == keys | {'test_cfg'}


@pytest.mark.parametrize('name', RUNNABLE)
def test_each_set_is_tested(evaluate, name):
    options = [] if name in OPTIONS else ['dataset.indices=20']
    figures, out = evaluate(name, *options)
    assert isinstance(figures, dict), figures
    expected = FIGURES.get(name, {'accuracy/top1'} if name != 'imagenet_r' else set())
    if name == 'imagenet_corrupted':
        expected = {'corruption/mean_error'}
    assert expected <= figures.keys()
    assert not any(key.endswith('mce') for key in figures)
    assert all(np.isfinite(value) for value in figures.values())
    if name in ('imagenet_a', 'imagenet_sketch', 'imagenet_v2'):
        own = dict(imagenet_a=subset_indices('a')).get(name, range(1000))
        assert [s['gt_label'].item() for s in out] == list(own)[:20]
    if name == 'imagenet_a':  # by hand
        scores = torch.stack([s['pred_score'] for s in out])[:, list(own)]
        right = (scores.argmax(1) == torch.arange(20)).float().mean()
        assert figures['subset/top1'] == pytest.approx(100 * right.item())
    if name == 'imagenet_c':
        cells = [(s['corruption'], s['severity']) for s in out]
        assert cells == [('fog', 1)] * 2 + [('fog', 2), ('contrast', 1), cells[-1]]
        assert [s['gt_label'].item() for s in out] == [0, 1, 500, 500, 999]
    if name == 'imagenet_o':
        assert figures['out_of_distribution/base_rate'] == pytest.approx(100 * 9 / 17)


def test_pictures_of_the_same_classes(evaluate):
    """As the comment in imagenet_a.py says."""
    options = ('dataset.clean=True', 'dataset.data_root=data/imagenet/val')
    figures, out = evaluate('imagenet_a', *options, 'dataset.indices=20')
    assert [s['gt_label'].item() for s in out] == list(subset_indices('a'))[:20]
    assert all('/imagenet/val/n' in s['img_path'] for s in out)
    assert 'subset/top1' in figures


def test_a_model_of_other_classes_is_refused(evaluate):
    message, _ = evaluate('imagenet_a', classes=200)
    assert 'num_classes=200, but the data set' in message and '1000' in message
    names = tuple(IMAGENET_CATEGORIES[::-1])
    message, _ = evaluate('imagenet_a', meta=dict(classes=names))
    assert 'same names in another order' in message


def test_a_wrong_folder_ends_with_one_line(evaluate):
    message, _ = evaluate('imagenet_a', 'dataset.data_root=data/imagenet-r')
    assert "'data/imagenet-r' is not ImageNet-A" in message
    assert 'look like ImageNet-R' in message and len(message.splitlines()) <= 2


@pytest.mark.slow
@pytest.mark.parametrize('name', ['imagenet_a', 'imagenet_pgd'])
def test_two_processes_find_the_figures_of_one(evaluate, tmp_path, name):
    """An odd number of pictures, so that one is tested twice, and counted once."""
    alone, _ = evaluate(name, 'dataset.indices=7', 'batch_size=7')
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node=2']
    command += ['--master-port=29618', ROOT / 'tools/test.py', *evaluate.args]
    command += ['--launcher', 'pytorch', '--work-dir', tmp_path / 'two']
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    done = subprocess.run(
        list(map(str, command)), env=env, cwd=tmp_path, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = (tmp_path / 'two').glob('*/*.json')
    together = json.loads(file.read_text())
    assert together.keys() == alone.keys()
    for key in alone.keys() - {'time', 'data_time'}:
        assert together[key] == pytest.approx(alone[key], abs=1e-4), key
