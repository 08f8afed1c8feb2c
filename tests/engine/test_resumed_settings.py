"""What a resumed run says of settings that differ from those of its checkpoint."""

import pytest
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

    def run(*options, text=TEXT):
        assert train_to_end(monkeypatch, tmp_path, data, *FIRST, text=TEXT) is None
        more = ('--resume', '--cfg-options', 'train_cfg.max_epochs=2', *options)
        message = train_to_end(monkeypatch, tmp_path, data, *more, text=text)
        # Two runs that begin in one second share a file.
        logs = sorted(tmp_path.glob('work/*/*.log'))
        return message, '\n'.join(log.read_text() for log in logs)

    return run


def test_the_same_settings_are_not_worth_a_word(resume):
    message, log = resume()
    assert message is None and KEEPS not in log and 'finished' not in log


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


def test_epochs_count_where_a_larger_batch_has_fewer_iterations(resume):
    message, log = resume('train_dataloader.batch_size=32')
    assert message is None and 'This run is finished' not in log
    assert 'Epoch(train) [2]' in log


def test_finished_run(resume):
    message, log = resume('train_cfg.max_epochs=1')
    assert message is None and 'This run is finished: epoch 1 of 1' in log
