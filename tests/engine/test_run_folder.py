"""A run's folder: what --resume takes, what is not written over, and faults."""

import errno
import itertools
import logging
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import find_latest_checkpoint
from tiny_run import run_tool, train_to_end, write_images

from mmtlalign.compat.run_checkpoints import last_checkpoint
from mmtlalign.engine import run_folder
from mmtlalign.engine.host_hooks import our_hook
from mmtlalign.engine.run_folder import (
    check_same_start,
    claim_folder,
    find_checkpoint,
)
from mmtlalign.errors import InputError, short_errors


def save(path, seed=3, **more):
    """Write the least that a run can continue from."""
    content = dict(meta=dict(seed=seed), state_dict={}, optimizer={}, message_hub={})
    torch.save(content | more, path)
    return path


@pytest.fixture
def folder(tmp_path):
    """A run with three checkpoints that was renamed."""
    for number in (1, 2, 10):
        save(tmp_path / f'epoch_{number}.pth')
    (tmp_path / 'last_checkpoint').write_text('/before/it/was/renamed/epoch_10.pth')
    return tmp_path


def settings(folder, **more):
    return Config(dict(work_dir=str(folder), **more))


def tear(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_a_renamed_run_resumes_from_its_last_checkpoint(folder):
    assert find_checkpoint(folder) == str(folder / 'epoch_10.pth')


def test_a_torn_checkpoint_falls_back_to_the_one_before(folder, caplog):
    tear(folder / 'epoch_10.pth')
    found = find_checkpoint(folder, logging.getLogger('torn'))
    assert found == str(folder / 'epoch_2.pth')
    assert 'cut short' in caplog.text and 'epoch_2.pth' in caplog.text
    for number in (1, 2):
        tear(folder / f'epoch_{number}.pth')
    with pytest.raises(
        InputError, match='no checkpoint in .* is complete.*--overwrite'
    ):
        find_checkpoint(folder)


def test_later_checkpoints_of_another_run_are_not_taken(folder):
    (folder / 'last_checkpoint').write_text('epoch_2.pth')
    assert find_checkpoint(folder) == str(folder / 'epoch_2.pth')
    tear(folder / 'epoch_2.pth')
    assert find_checkpoint(folder) == str(folder / 'epoch_1.pth')
    assert last_checkpoint(folder) == folder / 'epoch_2.pth'
    (folder / 'epoch_2.pth').unlink()
    assert find_checkpoint(folder) == str(folder / 'epoch_1.pth')


def test_an_earlier_run_is_not_written_over(folder):
    with pytest.raises(InputError, match='epoch_10.pth.*--resume.*--overwrite'):
        with claim_folder(settings(folder)):
            pass
    assert len(list(folder.glob('epoch_*.pth'))) == 3
    with claim_folder(settings(folder, resume=True)):
        assert len(list(folder.glob('epoch_*.pth'))) == 3
    (folder / '.epoch_11.pth.5.part').touch()
    with claim_folder(settings(folder), overwrite=True):
        assert [path.name for path in folder.iterdir()] == ['.lock']
    with claim_folder(settings(folder / 'new')):  # a new one needs no word
        pass


def test_a_run_without_a_seed_keeps_the_one_it_drew(folder):
    cfg = settings(folder, resume=True, randomness=dict(seed=None))
    with claim_folder(cfg):
        assert cfg.randomness.seed == 3


def test_the_seed_of_a_resumed_run_stays(folder, capsys):
    cfg = settings(folder, resume=True, randomness=dict(seed=7))
    with claim_folder(cfg):
        assert cfg.randomness.seed == 3
    assert 'randomness.seed=7 has no effect' in capsys.readouterr().err


def test_checkpoints_in_another_folder_are_not_written_over(tmp_path):
    work, out = tmp_path / 'work', tmp_path / 'out'
    for one in (work, out):
        one.mkdir()
    for number in (1, 2):
        save(out / f'epoch_{number}.pth')
    (work / 'last_checkpoint').write_text(str(out / 'epoch_2.pth'))
    with pytest.raises(InputError, match='checkpoints of an earlier run'):
        with claim_folder(settings(work)):
            pass
    tear(out / 'epoch_2.pth')
    assert find_checkpoint(work) == str(out / 'epoch_1.pth')


@pytest.mark.skipif(run_folder.fcntl is None, reason='no locks on this system')
def test_two_processes_cannot_use_one_folder(tmp_path):
    code = f"""
        from mmengine.config import Config
        from mmtlalign.engine.run_folder import claim_folder
        with claim_folder(Config(dict(work_dir={str(tmp_path)!r}))):
            print('held', flush=True)
            input()
    """
    command = [sys.executable, '-c', textwrap.dedent(code)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == b'held\n'
        with pytest.raises(InputError, match=f'in use by process {other.pid} on'):
            with claim_folder(settings(tmp_path)):
                pass
        other.kill()
        other.wait()
    with claim_folder(settings(tmp_path)):  # the lock went with the process
        pass


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='cannot be written .*--work-dir'):
        with claim_folder(settings(tmp_path / 'file' / 'work')):
            pass


# ------------------------------------------------------------------ with training


@pytest.fixture
def train(monkeypatch, tmp_path):
    data = write_images(tmp_path / 'data')

    def run(*args, text=''):
        return train_to_end(monkeypatch, tmp_path, data, *args, text=text)

    return run


KEEP_ONE = """
default_hooks['checkpoint'].update(max_keep_ckpts=1, save_best='auto')
"""


def test_a_run_and_its_folder(train, tmp_path, monkeypatch):
    one, two = (f'train_cfg.max_epochs={n}' for n in (1, 2))
    work, moved = tmp_path / 'work', tmp_path / 'moved'
    assert train('--cfg-options', one, text=KEEP_ONE) is None
    # What mmengine's own --resume, of a host's train.py, reads.
    assert find_latest_checkpoint(str(work)) == str(work / 'epoch_1.pth')
    assert '--overwrite' in train('--cfg-options', one)
    work.rename(moved)
    (config,) = moved.glob('*.py')  # says `work` still
    run_tool(monkeypatch, 'train', config, '--resume', '--cfg-options', two)
    assert not work.exists()
    assert [path.name for path in moved.glob('epoch_*.pth')] == ['epoch_2.pth']
    moved.rename(work)
    assert train('--overwrite', '--cfg-options', one) is None
    assert [path.name for path in work.glob('*.pth')] == ['epoch_1.pth']


def test_best_checkpoint_of_a_renamed_run(train, tmp_path):
    one, two = (f'train_cfg.max_epochs={n}' for n in (1, 2))
    assert train('--cfg-options', one, text=KEEP_ONE) is None
    work = tmp_path / 'work'
    (best,) = work.glob('best_*.pth')
    content = torch.load(work / 'epoch_1.pth', weights_only=False)
    # As if it had been written elsewhere, with a score that is easily beaten.
    info = content['message_hub']['runtime_info']
    info.update(best_ckpt=f'/elsewhere/{best.name}', best_score=0.0)
    torch.save(content, work / 'epoch_1.pth')
    assert train('--resume', '--cfg-options', two, text=KEEP_ONE) is None
    (new,) = work.glob('best_*.pth')  # the old one went
    assert new.name != best.name


@pytest.mark.parametrize('kept', [1, 2])
def test_a_full_disk_loses_no_checkpoint(train, tmp_path, monkeypatch, kept):
    text = f"default_hooks['checkpoint'].update(max_keep_ckpts={kept})\n"
    one, three = (f'train_cfg.max_epochs={n}' for n in (kept, 3))
    assert train('--cfg-options', one, text=text) is None

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')

    before = sorted(path.name for path in (tmp_path / 'work').glob('*.pth'))
    with monkeypatch.context() as patch:
        patch.setattr('mmengine.runner.runner.save_checkpoint', full)
        message = train('--resume', '--cfg-options', three, text=text)
    assert 'No space left' in message and '--resume' in message
    after = sorted(path.name for path in (tmp_path / 'work').glob('*.pth'))
    # With two, one makes room for another attempt.
    assert after == before[-1:] and not list((tmp_path / 'work').glob('.*.part'))
    assert train('--resume', '--cfg-options', three, text=text) is None


def test_a_clock_that_is_set_back(train, tmp_path, monkeypatch):
    one, two = (f'train_cfg.max_epochs={n}' for n in (1, 2))
    assert train('--cfg-options', one) is None
    clock = itertools.count(2e9, -3600)
    with monkeypatch.context() as patch:
        patch.setattr('time.time', lambda: next(clock))
        assert train('--resume', '--cfg-options', two) is None
    assert last_checkpoint(tmp_path / 'work').name == 'epoch_2.pth'


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (OSError(errno.ENOSPC, 'No space left', 'log.json'), 'log.json: No space left'),
        (PermissionError(errno.EACCES, 'Denied', 'x'), 'x: Denied'),
        (RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed.'), 'shm'),
    ],
)
def test_faults_of_the_machine_are_one_line(error, words):
    with pytest.raises(SystemExit, match=words), short_errors('c.py'):
        raise error


@pytest.mark.parametrize(
    'error',
    [
        RuntimeError('Caught RuntimeError in DataLoader worker process 0.\nOriginal'),
        OSError(errno.EIO, 'Input/output error'),
        AssertionError('somewhere'),
    ],
)
def test_other_errors_keep_their_traceback(error):
    with pytest.raises(type(error)), short_errors('c.py'):
        raise error


def test_mmengines_hook_is_replaced_by_name_and_by_class():
    for kind in ('CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook):
        assert our_hook(dict(type=kind)) == dict(type='mmtlalign.WholeCheckpointHook')
    assert our_hook(dict(type='EMAHook')) == dict(type='EMAHook')


def test_resume_without_a_checkpoint_keeps_the_weights_of_the_config(
    monkeypatch, tmp_path, capsys
):
    data = write_images(tmp_path / 'data')
    first = tmp_path / 'first'
    first.mkdir()
    once = ('--cfg-options', 'train_cfg.max_epochs=1')
    assert train_to_end(monkeypatch, first, data, *once) is None
    weights = first / 'work' / 'epoch_1.pth'
    text = f"load_from = '{weights}'\n"
    args = ('--resume', *once, 'optim_wrapper.optimizer.lr=0.0')
    assert train_to_end(monkeypatch, tmp_path, data, *args, text=text) is None
    assert f'a run begins with the weights of {weights}' in capsys.readouterr().out
    found, old = (
        torch.load(path, weights_only=False)['state_dict']
        for path in (tmp_path / 'work' / 'epoch_1.pth', weights)
    )
    assert all(torch.equal(found[name], old[name]) for name in old)


def test_processes_that_begin_otherwise_are_refused(monkeypatch):
    """As on a second machine with an empty work directory of its own."""
    alone = SimpleNamespace(world_size=1)
    check_same_start(alone)
    runner = SimpleNamespace(world_size=2, iter=100, _load_from='epoch_1.pth')
    others = [[(100, True)] * 2, [(100, True), (0, False)]]
    for starts, fits in zip(others, (True, False)):
        gather = lambda own, starts=starts: starts  # noqa: E731
        monkeypatch.setattr(run_folder.dist, 'all_gather_object', gather)
        if fits:
            check_same_start(runner)
            continue
        with pytest.raises(InputError, match='1: no checkpoint, iteration 0.*--resume'):
            check_same_start(runner)
