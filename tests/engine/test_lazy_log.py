"""Losses that are read late make the same record as those that are read at once."""

import json

import pytest
import torch
from no_sync import NoSync
from tiny_run import run_tool, write_config, write_images

from mmtlalign.engine import runtime_info_hook
from mmtlalign.engine.runtime_info_hook import LazyRuntimeInfoHook


@pytest.fixture
def record(monkeypatch, tmp_path):
    """Train the tiny config; every line of its record but times and memory."""
    data = write_images(tmp_path / 'data')

    def run(work, *options, text=''):
        config = write_config(tmp_path, data, text)
        run_tool(
            monkeypatch, 'train', config, '--work-dir', tmp_path / work,
            '--cfg-options', *options,
        )  # fmt: skip
        (file,) = (tmp_path / work).glob('*/vis_data/scalars.json')
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        times = ('time', 'data_time', 'memory', 'eta')
        return [{k: v for k, v in line.items() if k not in times} for line in lines]

    return run


BF16 = (
    'optim_wrapper.type=mmtlalign.Bf16OptimWrapper',
    'optim_wrapper.clip_grad.max_norm=0.1',
)


@pytest.mark.parametrize(('interval', 'pending'), [(1, 100), (3, 100), (3, 2)])
def test_record_is_that_of_the_stock_hook(record, monkeypatch, interval, pending):
    monkeypatch.setattr(runtime_info_hook, 'MAX_PENDING', pending)
    logs = f'default_hooks.logger.interval={interval}'
    stock = "default_hooks['runtime_info'] = dict(type='RuntimeInfoHook')"
    wanted = record('stock', logs, *BF16, text=stock)
    # As if everything were on a GPU.
    monkeypatch.setattr(
        runtime_info_hook, 'waits', lambda v: isinstance(v, torch.Tensor)
    )
    found = record('lazy', logs, *BF16)
    assert any('grad_norm' in line for line in wanted)
    assert len(wanted) == len(found)
    for ours, theirs in zip(found, wanted):
        assert ours == pytest.approx(theirs, rel=1e-6)


def test_no_step_between_two_logs_waits(record, monkeypatch):
    monkeypatch.setattr(
        runtime_info_hook, 'waits', lambda v: isinstance(v, torch.Tensor)
    )
    seen, stock = [], LazyRuntimeInfoHook.after_train_iter

    def watched(self, runner, batch_idx, data_batch=None, outputs=None):
        due = (batch_idx + 1) % 3 == 0
        due = due or batch_idx + 1 == len(runner.train_dataloader)
        seen.append(due)
        if due:
            return stock(self, runner, batch_idx, data_batch, outputs)
        with NoSync():
            stock(self, runner, batch_idx, data_batch, outputs)

    monkeypatch.setattr(LazyRuntimeInfoHook, 'after_train_iter', watched)
    record('lazy', 'default_hooks.logger.interval=3')
    assert seen.count(False) >= 4
