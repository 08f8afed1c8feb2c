"""NaN stops a run, says where it came from, and loses no checkpoint."""

import functools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS
from tiny_run import train_to_end, write_images

from mmtlalign.engine.nan_guard_hook import (
    NanGuardHook,
    NonFiniteError,
    Step,
    take_step,
)


@TRANSFORMS.register_module()
class PoisonImage:
    """Test only: a NaN in the images of one folder entry."""

    def __init__(self, stem):
        self.stem = stem

    def __call__(self, results):
        results['img'] = results['img'].astype(np.float32)
        if self.stem in results['img_path']:
            results['img'][0, 0, 0] = np.nan
        return results


@HOOKS.register_module()
class Sabotage(Hook):
    """Test only: a NaN in a weight after one step."""

    def __init__(self, after):
        self.after = after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.after:
            next(runner.model.parameters()).data.view(-1)[0] = torch.nan


@pytest.fixture
def data(tmp_path):
    """A tiny data set of this test alone."""
    return write_images(tmp_path / 'data')


@pytest.fixture
def train(monkeypatch, tmp_path, data):
    """Train the tiny config; return the message that it ends with, or None."""
    return functools.partial(train_to_end, monkeypatch, tmp_path, data)


def test_nan_in_the_input(train, tmp_path, data):
    poison = "dict(type='PoisonImage', stem='class0/07')"
    message = train(text=f'pipeline.insert(1, {poison})')
    assert f'the input of {data}/train/class0/07.png is not finite at' in message
    assert 'Batch of 8' in message
    listed = (tmp_path / 'work' / 'nonfinite_batch.txt').read_text().split()
    assert len(listed) == 8
    assert any('class0/07' in name for name in listed)
    assert listed[0] in message


def records(work):
    """All scalar records of a work directory."""
    for path in work.glob('*/vis_data/scalars.json'):
        for line in path.read_text().splitlines():
            yield json.loads(line)


@pytest.mark.parametrize(
    ('after', 'what'),
    [
        (6, 'the loss (loss nan) is not finite at iteration 7 (epoch 2)'),
        # The epoch ends before the loss of the broken weights is known.
        (8, 'is not finite at iteration 8 (epoch 2)'),
    ],
)
def test_nan_keeps_the_last_checkpoint(train, tmp_path, after, what):
    keep = 'default_hooks.checkpoint.max_keep_ckpts=1'
    train('--cfg-options', 'train_cfg.max_epochs=1', keep)
    work = tmp_path / 'work'
    before = (work / 'epoch_1.pth').read_bytes()
    sabotage = f"custom_hooks = [dict(type='Sabotage', after={after})]"
    options = ('--cfg-options', 'train_cfg.max_epochs=4', keep)
    message = train('--resume', *options, text=sabotage)
    assert what in message
    assert str(work / 'epoch_1.pth') in message
    assert [path.name for path in work.glob('*.pth')] == ['epoch_1.pth']
    assert (work / 'epoch_1.pth').read_bytes() == before
    assert (work / 'last_checkpoint').read_text() == str(work / 'epoch_1.pth')
    assert not any(np.isnan(line.get('loss', 0)) for line in records(work))
    # And it continues from there.
    assert train('--resume', '--cfg-options', 'train_cfg.max_epochs=2') is None
    assert (work / 'epoch_2.pth').exists()


def test_nan_in_an_iteration_based_run(train, tmp_path):
    text = """
train_cfg = dict(by_epoch=False, max_iters=8, val_interval=8)
train_dataloader['sampler'] = dict(type='InfiniteSampler', shuffle=True)
param_scheduler = dict(type='ConstantLR', by_epoch=False)
default_hooks['checkpoint'].update(by_epoch=False, interval=2, max_keep_ckpts=1)
custom_hooks = [dict(type='Sabotage', after=4, priority='VERY_HIGH')]
"""
    message = train(text=text)
    assert "the weight '" in message
    assert 'at iteration 4 ' in message
    assert [path.name for path in (tmp_path / 'work').glob('*.pth')] == ['iter_2.pth']


def test_guard_is_added_once(train):
    text = "custom_hooks = [dict(type='mmtlalign.NanGuardHook')]"
    assert train('--cfg-options', 'train_cfg.max_epochs=1', text=text) is None


class LateFlag:
    """A flag of a GPU step that has not arrived yet."""

    def __init__(self):
        self.arrived = False
        self.waited = False

    def query(self):
        return self.arrived

    def synchronize(self):
        self.waited = True


@pytest.mark.parametrize('saving', [False, True])
def test_guard_waits_for_a_late_flag_only_before_saving(tmp_path, saving):
    runner = SimpleNamespace(
        work_dir=str(tmp_path), distributed=False, epoch=0, model=torch.nn.Linear(1, 1)
    )
    late, losses = LateFlag(), dict(loss=torch.tensor(torch.nan))
    guard = NanGuardHook()
    guard.pending.append(Step(3, {}, torch.tensor(False), late, losses))
    guard.check(runner, wait=False)
    assert not late.waited
    late.arrived = not saving
    with pytest.raises(NonFiniteError, match='the loss .loss nan. .* at iteration 4'):
        guard.check(runner, wait=saving)
    assert late.waited == saving


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_step_does_not_wait_for_the_gpu():
    runner = SimpleNamespace(iter=0)
    loss = dict(loss=torch.tensor(torch.nan, device='cuda'))
    take_step(runner, {}, loss)
    torch.cuda.set_sync_debug_mode('error')
    try:
        step = take_step(runner, {}, loss)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    step.ready.synchronize()
    assert not step.finite
