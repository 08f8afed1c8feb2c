"""A run that was stopped anywhere ends as one that was not, to the bit."""

import json
import os
import random
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.registry import HOOKS
from repository import ROOT
from tiny_run import run_tool, write_config, write_images
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from mmtlalign.engine.exact_resume import (
    KEY,
    ExactIterLoop,
    ExactResumeHook,
)
from mmtlalign.engine.seeded_batches import NumberedBatches, number_batches
from tools.demo.quickstart_data import write_quickstart


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
default_hooks['logger']['log_metric_by_epoch'] = False
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


def test_only_a_validation_that_is_due_is_done_again(train, monkeypatch):
    seen = []
    monkeypatch.setattr(
        KillAt, 'before_val_epoch', lambda self, runner: seen.append(runner.iter)
    )
    train('killed', BY_EPOCH + "train_cfg['max_epochs'] = 3\n", 6, 8)
    # At 6 the epoch ends, and at 8 it has begun.
    assert seen == [6, 12, 18]


def test_a_run_killed_in_its_validation_validates_when_it_is_resumed(train):
    whole = train('whole', BY_ITERATION)
    killed = train('killed', BY_ITERATION, 4, validating=True)
    assert_same_run(killed, whole)
    last = train('last', BY_ITERATION, 12, validating=True)
    assert_same_run(last, whole)
    assert ('val', 12) in last[1]
    assert last[0][KEY]['validated'] == 8


# A real kill -9: within a backward pass, or with half of a checkpoint written.
KILLER = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import runner as runners

def kill(*given):
    os.kill(os.getpid(), signal.SIGKILL)

def save_half(content, filename, **given):
    with open(filename, 'wb') as file:
        file.write(b'PK\\x03\\x04' + bytes(1000))
    kill()

@HOOKS.register_module()
class KillAt(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        at, where = int(os.environ['KILL_AT']), os.environ['KILL_IN']
        if runner.iter == at and where == 'backward':
            next(runner.model.parameters()).register_hook(kill)
        if runner.iter == at and where == 'save':
            runners.save_checkpoint = save_half
"""


@pytest.mark.slow  # four processes
def test_kill_9_and_a_torn_checkpoint(tmp_path):
    data = write_images(tmp_path / 'data')
    (tmp_path / 'killer.py').write_text(KILLER)
    imports = "custom_imports = dict(imports=['killer'])\n"
    # Validated at the end alone: what is killed says so by its status.
    steps = 'train_cfg.update(max_iters=8, val_interval=8)\n'
    text = RANDOM + BY_ITERATION + steps + imports

    def start(name, at=-1, where=''):
        config = write_config(tmp_path, data, text)
        paths = os.pathsep.join([str(ROOT), str(tmp_path)])
        env = dict(KILL_AT=str(at), KILL_IN=where, PYTHONPATH=paths)
        command = [sys.executable, ROOT / 'tools/train.py', config, '--resume']
        ended = subprocess.run(
            [*command, '--work-dir', tmp_path / name],
            env=os.environ | env,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == (-signal.SIGKILL if where else 0), ended.stderr

    def result(name):
        path = tmp_path / name / 'iter_8.pth'
        return torch.load(path, weights_only=False), record(tmp_path / name)

    killed = tmp_path / 'killed'
    start('killed', 3, 'backward')
    start('killed', 5, 'save')
    assert list(killed.glob('.*.part')) and not (killed / 'iter_6.pth').exists()
    last = killed / 'iter_5.pth'
    last.write_bytes(last.read_bytes()[:-100])
    start('killed')
    said = ''.join(path.read_text() for path in killed.glob('*/*.log'))
    assert 'iter_5.pth' in said and 'cut short' in said
    assert 'Resuming from the one before' in said and 'iter_4.pth' in said
    start('whole')
    assert_same_run(result('killed'), result('whole'))
    assert not list(killed.glob('.*.part'))


DENSE = """
_base_ = '{config}'
train_dataloader = dict(num_workers=2, batch_size=2, persistent_workers=True)
train_cfg = dict(max_iters=6, val_interval=6)
param_scheduler = [dict(type='PolyLR', by_epoch=False, end=6)]
custom_hooks = [dict(type='EMAHook', momentum=0.1), dict(type='KillAt')]
optim_wrapper = dict(accumulative_counts=2)
default_hooks = dict(
    checkpoint=dict(interval=1), logger=dict(interval=1), visualization=None
)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'swin-mini-p4-w3_upernet_digits-96x96',
        'cascade-mask-rcnn_swin-mini-p4-w3_fpn_digits-96x96',
    ],
)
def test_dense_tasks(monkeypatch, tmp_path, name):
    write_quickstart(str(tmp_path / 'data'), 8, 4)
    folder = dict(swin='ade', cascade='coco')[name.partition('-')[0]]
    # On a CPU, boxes in bfloat16 are too coarse for NMS.
    precision = dict(swin=['--amp'], cascade=[])[name.partition('-')[0]]
    found = []
    for work, stops in (('killed', (3,)), ('whole', ())):
        for at in (*stops, None):
            monkeypatch.setattr(KillAt, 'at', at)
            monkeypatch.setattr(KillAt, 'validating', False)
            config = tmp_path / f'{work}_{at}.py'
            base = ROOT / f'configs/quickstart/{name}.py'
            config.write_text(DENSE.format(config=base))
            cfg = Config.fromfile(config)
            flip = dict(type='RandomFlip', prob=0.5)
            cfg.train_dataloader.dataset.pipeline.insert(-1, flip)
            cfg.dump(config)
            try:
                run_tool(
                    monkeypatch, 'train', config, *precision, '--resume',
                    '--work-dir', tmp_path / work,
                    '--cfg-options', f'data_root={tmp_path}/data/{folder}',
                )  # fmt: skip
            except Killed:
                continue
        content = torch.load(tmp_path / work / 'iter_6.pth', weights_only=False)
        found.append((content, record(tmp_path / work)))
    assert_same_run(*found)


# ----------------------------------------------------------------------- the parts


class Echo:
    """Test only: a data set of what a worker draws for an index."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        draws = random.random(), np.random.rand(), torch.rand(()).item()
        return index, *draws


def loader_of(workers):
    loader = DataLoader(
        Echo(), batch_size=2, shuffle=True, num_workers=workers, collate_fn=list,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    number_batches(loader, 5)
    return loader


def test_draws_depend_on_the_batch_and_not_on_the_workers():
    alone, three = loader_of(0), loader_of(3)
    first = list(alone)
    assert first == list(three)
    again = list(alone)
    # Another pass is another number.
    assert {draw for batch in first for _, *d in batch for draw in d}.isdisjoint(
        draw for batch in again for _, *d in batch for draw in d
    )
    assert len(alone) == 4 and alone.batch_sampler.drop_last is False


def test_batches_are_skipped_within_and_over_passes():
    batches = NumberedBatches(BatchSampler(SequentialSampler(range(5)), 2, False))
    epochs = []
    assert batches.advance(2, 2, epochs.append) == 0
    assert [(list(b), b.number) for b in batches] == [([4], 2)]
    assert batches.advance(7, 7, epochs.append) == 2 and epochs == [2]
    found = [(list(b), b.number) for b in batches]
    assert found == [([2, 3], 7), ([4], 8)]
    assert [b.number for b in batches] == [9, 10, 11]


def test_loops_of_older_mmengine_have_begun_to_load():
    loop = ExactIterLoop.__new__(ExactIterLoop)
    loop.dataloader, loop._iter = loader_of(0), 5
    begun = iter(loop.dataloader)

    class Begun:
        _iterator = begun

    loop.dataloader_iterator = Begun
    batches = loop._batches()
    other = loader_of(0)
    whole = [*other, *other, *other]
    assert [next(batches) for _ in range(4)] == whole[5:9]


def test_a_checkpoint_of_the_best_score_does_not_count_for_early_stopping():
    runner = SimpleNamespace(hooks=[EarlyStoppingHook(monitor='top1')], iter=8)
    hook = ExactResumeHook()
    hook.after_val_epoch(runner)
    assert hook.validated == -1  # such a checkpoint is written now
    hook.after_val(runner)
    assert hook.validated == 8
