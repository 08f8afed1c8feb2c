"""What a resumed run says of settings that differ from those of its checkpoint."""

import re

import pytest
import torch
from tiny_run import train_to_end, write_images

FIRST = ('--cfg-options', 'train_cfg.max_epochs=1')
# A schedule of its own length, so that it does not change with the number of epochs.
TEXT = """
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3)]
optim_wrapper['optimizer']['weight_decay'] = 0.01
optim_wrapper['paramwise_cfg'] = dict(norm_decay_mult=0.0)
"""
KEEPS = 'A resumed run keeps the settings of its checkpoint'


@pytest.fixture
def resume(monkeypatch, tmp_path):
    """Train one epoch, then resume for two; return the message and the log."""
    data = write_images(tmp_path / 'data')

    def run(*options, first=TEXT, text=TEXT, flags=()):
        assert train_to_end(monkeypatch, tmp_path, data, *FIRST, text=first) is None
        more = ('--resume', *flags, '--cfg-options', 'train_cfg.max_epochs=2', *options)
        message = train_to_end(monkeypatch, tmp_path, data, *more, text=text)
        # Two runs that begin in one second share a file.
        logs = sorted(tmp_path.glob('work/*/*.log'))
        return message, '\n'.join(log.read_text() for log in logs)

    return run


def test_the_same_settings_are_not_worth_a_word(resume):
    message, log = resume()
    assert message is None and KEEPS not in log and 'finished' not in log
    assert 'images a step' not in log


def test_settings_without_effect_get_one_warning(resume):
    name = 'optim_wrapper.optimizer'
    message, log = resume(
        f'{name}.lr=0.1', f'{name}.weight_decay=0.5', 'param_scheduler.0.end=50'
    )
    (line,) = [line for line in log.splitlines() if KEEPS in line]
    assert message is None and 'WARNING' in line and 'load_from' in line
    assert f'{name}.lr=0.1 (in force: 0.001)' in line
    assert f'{name}.weight_decay=0.5 (in force: 0.01)' in line
    assert 'param_scheduler.0.end=50 (in force: 3)' in line
    # The length that is not used is not compared with that of the run.
    assert 'already ends at' not in log


def test_other_trained_parameters_are_one_line(resume):
    message, _ = resume('model.backbone.frozen_stages=1')
    assert 'cannot be resumed' in message and 'Traceback' not in message
    assert 'model.backbone.frozen_stages=1 (in the checkpoint: None)' in message


COSINE = "dict(type='CosineAnnealingLR', T_max=3, by_epoch=False)"
LINEAR = "dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3)"


@pytest.mark.parametrize('change', [f'[{LINEAR}, {COSINE}]', f'[{COSINE}]', '[]'])
def test_other_schedulers_are_one_line(resume, change):
    message, _ = resume(text=TEXT + f'param_scheduler = {change}\n')
    assert 'it has the state of 1 scheduler(s), and the config has' in message
    assert 'Changed in the config: param_scheduler' in message
    assert 'Traceback' not in message


def test_schedulers_without_a_state_are_one_line(resume):
    unsaved = "default_hooks['checkpoint']['save_param_scheduler'] = False\n"
    message, _ = resume(first=TEXT + unsaved)
    assert 'it has the state of 0 scheduler(s), and the config has 1' in message


def test_another_optimizer_is_one_line(resume):
    sgd = "optim_wrapper['optimizer'] = dict(type='SGD', lr=1, weight_decay=0)\n"
    message, _ = resume(text=TEXT + sgd)
    assert 'cannot be resumed by another optimizer' in message
    assert 'optim_wrapper.optimizer.type=SGD (in the checkpoint: AdamW)' in message


def test_another_precision_gets_a_warning(resume):
    message, log = resume(flags=('--amp',))
    assert message is None
    (line,) = [line for line in log.splitlines() if 'another optimizer wrapper' in line]
    assert 'WARNING' in line and 'mmtlalign.Bf16OptimWrapper (in the ch' in line


def test_averaged_weights_are_not_taken_for_those_of_the_run(resume):
    average = "custom_hooks = [dict(type='EMAHook')]\n"
    message, _ = resume(first=TEXT + average)
    assert 'cannot be resumed without its EMAHook' in message


def test_a_longer_epoch_begins_anew(resume):
    # 32 images: 4 steps of 8, then 6 of 6.
    message, log = resume('train_dataloader.batch_size=6')
    steps = re.findall(r'Epoch\(train\)\s+\[2\]\[(\d)/(\d)\]', log)
    assert message is None and steps == [(str(n), '6') for n in range(1, 7)]


def test_the_next_epoch_is_whole_after_a_checkpoint_of_the_best_score(resume):
    # It is written after the validation, when the epoch counts as done.
    best = TEXT + "default_hooks['checkpoint']['save_best'] = 'auto'\n"
    message, log = resume(first=best, text=best)
    steps = re.findall(r'Epoch\(train\)\s+\[2\]\[(\d)/4\]', log)
    assert message is None and steps == list('1234')


def test_a_shorter_epoch_begins_anew(resume, tmp_path):
    message, log = resume('train_dataloader.batch_size=16')
    steps = re.findall(r'Epoch\(train\)\s+\[2\]\[(\d)/(\d)\]', log)
    assert message is None and steps == [('1', '2'), ('2', '2')]
    assert 'was trained with 8 images a step, and this run has 16' in log
    # What counts iterations sees two epochs of two, not 4 + 2 iterations.
    (last,) = tmp_path.glob('work/epoch_2.pth')
    assert torch.load(last, weights_only=False)['meta']['iter'] == 4


def test_epochs_count_where_a_larger_batch_has_fewer_iterations(resume):
    message, log = resume('train_dataloader.batch_size=32')
    assert message is None and 'This run is finished' not in log
    assert 'Epoch(train) [2]' in log


def test_finished_run(resume):
    message, log = resume('train_cfg.max_epochs=1')
    assert message is None and 'This run is finished: epoch 1 of 1' in log
