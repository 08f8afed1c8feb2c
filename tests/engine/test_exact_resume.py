"""A run that was stopped anywhere ends as one that was not, to the bit."""

import json

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from tiny_run import run_tool, write_config, write_images


class Killed(BaseException):
    """Stands for kill -9: nothing of the package catches it."""


@HOOKS.register_module()
class KillAt(Hook):
    """Test only: end the process after an iteration, or in a validation."""

    priority = 'LOWEST'
    at: int | None = None
    validating = False

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == KillAt.at and not KillAt.validating:
            raise Killed

    def before_val_epoch(self, runner):
        if runner.iter == KillAt.at and KillAt.validating:
            raise Killed


# All that draws: NumPy and PyTorch in workers, the mixing, stochastic depth; bfloat16,
# accumulated gradients, averaged weights.
RANDOM = """
model['type'] = 'mmtlalign.MixClassifier'
model['backbone']['drop_path_rate'] = 0.5
model['head'] = dict(
    type='mmtlalign.TLAlignVisionTransformerClsHead', num_classes=2, in_channels=16,
)
model['train_cfg'] = dict(
    augments=[dict(type='mmtlalign.CutMix', alpha=1.0),
              dict(type='mmtlalign.Mixup', alpha=1.0)],
    probs=[0.5, 0.3],
)
train_dataloader['dataset']['pipeline'] = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5),
    dict(type='ColorJitter', brightness=0.4),
    dict(type='NumpyToPIL'),
    dict(type='torchvision/RandomAffine', degrees=20),
    dict(type='PILToNumpy'),
    dict(type='PackInputs'),
]
train_dataloader.update(num_workers=2, persistent_workers=True, batch_size=6)
optim_wrapper.update(type='mmtlalign.Bf16OptimWrapper', accumulative_counts=4)
custom_hooks = [
    dict(type='EMAHook', momentum=0.1, update_buffers=True), dict(type='KillAt'),
]
default_hooks['checkpoint'].update(by_epoch=False, interval=1, max_keep_ckpts=2)
"""
BY_EPOCH = "train_cfg['max_epochs'] = 2\n"
BY_ITERATION = """
train_cfg = dict(by_epoch=False, max_iters=12, val_interval=4)
train_dataloader['sampler'] = dict(type='InfiniteSampler', shuffle=True)
param_scheduler['by_epoch'] = False
log_processor = dict(by_epoch=False)
"""
# Passes that end, one after the other.
FINITE = BY_ITERATION + "train_dataloader['sampler']['type'] = 'DefaultSampler'\n"


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Train, killed at iterations; return the last checkpoint and the record."""
    data = write_images(tmp_path / 'data')

    def run(name, text, *stops, validating=False):
        folder = tmp_path / name
        for at in [*stops, None]:
            monkeypatch.setattr(KillAt, 'at', at)
            monkeypatch.setattr(KillAt, 'validating', validating)
            config = write_config(tmp_path, data, RANDOM + text)
            try:
                run_tool(monkeypatch, 'train', config, '--work-dir', folder, '--resume')
            except Killed:
                continue
        path = folder / (folder / 'last_checkpoint').read_text()
        return torch.load(path, weights_only=False), record(folder)

    return run


def record(folder):
    """Losses, rates and accuracies by step, the last of each."""
    found = {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in map(json.loads, path.read_text().splitlines()):
            kind = 'val' if 'accuracy/top1' in line else 'train'
            times = ('time', 'data_time', 'memory', 'eta')
            found[kind, line['step']] = {
                key: value for key, value in line.items() if key not in times
            }
    return found


def assert_same(one, other, path=''):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f'{path}.{key}')
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for number, pair in enumerate(zip(one, other)):
            assert_same(*pair, f'{path}.{number}')
    else:
        assert one == other, path


def assert_same_run(one, other):
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert_same(one[0][key], other[0][key], key)
    assert one[1] == other[1]
    for key in ('epoch', 'iter', 'seed'):
        assert one[0]['meta'][key] == other[0]['meta'][key]


@pytest.mark.parametrize(
    ('text', 'stops'),
    [
        # In an epoch, between two steps of the optimizer, at the end of one.
        (BY_EPOCH, (2, 5, 7)),
        (BY_ITERATION, (3, 10)),
        (FINITE, (4, 9)),
    ],
    ids=['epochs', 'iterations', 'finite'],
)
def test_a_killed_run_ends_as_one_that_was_not(train, text, stops):
    assert_same_run(train('killed', text, *stops), train('whole', text))


def test_a_run_killed_in_its_validation_validates_when_it_is_resumed(train):
    whole = train('whole', BY_ITERATION)
    killed = train('killed', BY_ITERATION, 4, validating=True)
    assert_same_run(killed, whole)
    last = train('last', BY_ITERATION, 12, validating=True)
    assert_same_run(last, whole)
    assert ('val', 12) in last[1]
