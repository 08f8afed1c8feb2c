"""Jobs and their progress: kept, stopped, failed, resumed."""

import io
import json
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from mmtlalign.compat.run_checkpoints import last_checkpoint
from tools.experiments.jobs import (
    Job,
    JobError,
    checkpoint_at,
    fingerprint,
    resume_point,
    set_aside,
)
from tools.experiments.measured import EMPTY, measured_by
from tools.experiments.progress import RunProgress, last_metrics, read_scalars
from tools.output import open_console


def python(code):
    return [sys.executable, '-c', code]


def test_a_finished_job_is_known_again(tmp_path):
    job = Job('one', tmp_path / 'one', 'mark')
    job.run(python('print("hello")'))
    assert 'hello' in job.log.read_text()
    job.finish(dict(top1=1.5))
    again = Job('one', tmp_path / 'one', 'mark')
    assert again.load() is None
    assert again.state == job.state and again.state['done']
    assert again.state['metrics'] == dict(top1=1.5)


def test_other_settings_begin_afresh_and_delete_nothing(tmp_path):
    job = Job('one', tmp_path / 'one', fingerprint(dict(lr=1)))
    job.run(python('pass'))
    job.finish()
    other = Job('one', tmp_path / 'one', fingerprint(dict(lr=2)))
    moved = other.load()
    assert not other.state['done'] and not (tmp_path / 'one').exists()
    assert json.loads((moved / 'state.json').read_text())['done']


def test_set_aside_twice_in_a_second(tmp_path):
    for _ in range(3):
        (tmp_path / 'run').mkdir()
        set_aside(tmp_path / 'run')
    assert len(list(tmp_path.glob('run.old-*'))) == 3


def test_a_failure_shows_the_end_of_the_log(tmp_path):
    job = Job('one', tmp_path / 'one', 'mark')
    code = 'import sys; print("far away\\n" * 50); print("the reason"); sys.exit(3)'
    with pytest.raises(JobError, match='status 3') as error:
        job.run(python(code))
    assert 'the reason' in str(error.value) and str(job.log) in str(error.value)
    assert str(error.value).count('far away') < 20
    again = Job('one', tmp_path / 'one', 'mark')
    assert again.load() is None and not again.state['done']


def test_ctrl_c_ends_the_command_and_its_children(tmp_path):
    job = Job('one', tmp_path / 'one', 'mark')
    beat = tmp_path / 'beat'
    child = (
        f'import time\nwhile 1: open({str(beat)!r}, "a").write("x"); time.sleep(.05)'
    )
    code = f'import subprocess, sys; subprocess.run([sys.executable, "-c", {child!r}])'

    def stop_when_it_runs():
        while not beat.exists():
            time.sleep(0.05)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=stop_when_it_runs).start()
    with pytest.raises(KeyboardInterrupt):
        job.run(python(code))
    size = beat.stat().st_size
    time.sleep(0.3)
    assert beat.stat().st_size == size
    again = Job('one', tmp_path / 'one', 'mark')
    assert again.load() is None
    assert not again.state['done'] and again.state['seconds'] > 0


@pytest.mark.parametrize(
    'written, marked, expected',
    [
        ([], None, None),
        ([8, 16], 16, 16),
        # Stopped while the next one was written.
        ([8, 16], 8, 8),
        # Stopped while evaluating.
        ([16, 24], 24, 16),
        ([24], 24, None),
    ],
)
def test_resume_point(tmp_path, written, marked, expected):
    for step in written:
        (tmp_path / f'iter_{step}.pth').touch()
    if marked:
        # The folder was elsewhere when this was written.
        (tmp_path / 'last_checkpoint').write_text(f'/elsewhere/iter_{marked}.pth')
        assert last_checkpoint(tmp_path) == tmp_path / f'iter_{marked}.pth'
    point = resume_point(tmp_path, total=24)
    assert point == (expected and tmp_path / f'iter_{expected}.pth')


def test_checkpoints_that_a_run_wrote_to_another_folder(tmp_path):
    work, out = tmp_path / 'work', tmp_path / 'out'
    for folder in (work, out):
        folder.mkdir()
    for step in (8, 16, 24):
        (out / f'iter_{step}.pth').touch()
    (work / 'last_checkpoint').write_text(str(out / 'iter_24.pth'))
    assert resume_point(work, total=24) == out / 'iter_16.pth'
    assert checkpoint_at(work, 8) == out / 'iter_8.pth'


def write_scalars(folder: Path, *records, end='\n', run='20260101_000000'):
    path = folder / run / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, records)) + end)


def test_scalars_of_the_newest_run_without_the_unfinished_line(tmp_path):
    write_scalars(tmp_path, dict(loss=9.0, step=10))
    write_scalars(
        tmp_path, dict(loss=1.0, step=20), end='\n{"lo', run='20260101_000001'
    )
    assert read_scalars(tmp_path) == [dict(loss=1.0, step=20)]


def test_last_metrics(tmp_path):
    names = dict(miou='mIoU')
    with pytest.raises(LookupError, match='before its evaluation'):
        last_metrics(tmp_path, names)
    write_scalars(tmp_path, {'mIoU': 1.0}, {'loss': 1.0, 'step': 5}, {'mIoU': 2.0})
    assert last_metrics(tmp_path, names) == dict(miou=2.0)


@pytest.mark.parametrize(
    'lines, expected',
    [
        ((EMPTY, 'Epoch(val) [2] coco/bbox_mAP: 0.4120'), 41.2),
        (('Epoch(val) [1] coco/bbox_mAP: 0.4120', EMPTY), 0.0),
        ((EMPTY,), 0.0),
    ],
)
def test_no_objects_are_a_zero_only_in_the_last_evaluation(tmp_path, lines, expected):
    columns = {'box AP': 'coco/bbox_mAP'}
    job = Job('one', tmp_path, 'mark', columns=columns)
    job.log.write_text('\n'.join(['', '$ train.py', *lines, '']))
    write_scalars(tmp_path, {'coco/bbox_mAP': 0.412})
    assert measured_by(job) == {'box AP': expected}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_progress_of_a_run(tmp_path):
    clock, console = Clock(), open_console(io.StringIO())
    progress = RunProgress(console, interval=0, get_time=clock)
    progress.add_run('[ 1/2] one', tmp_path, 40)

    def line(now):
        clock.now = now
        progress.read_runs()
        return console.file.getvalue().splitlines()[-1]

    assert line(0.0).split() == '[ 1/2] one 0% starting 0:00:00'.split()
    write_scalars(tmp_path, dict(loss=3.0, step=10))
    assert ' 25% loss 3.000 0:01:40' in line(100.0)
    write_scalars(tmp_path, dict(loss=2.0, step=20), run='20260101_000001')
    # Ten steps took 30 seconds, twenty are left.
    assert line(130.0).endswith(' 50% loss 2.000 0:02:10 0:01:00 left')
    write_scalars(tmp_path, dict(loss=2.0, step=40), run='20260101_000002')
    assert 'evaluating' in line(200.0)


def test_runs_are_redrawn_on_a_terminal(tmp_path):
    console = open_console(Terminal())
    progress = RunProgress(console, auto_refresh=False)
    with progress:
        for name in ('one', 'two'):
            progress.add_run(name, tmp_path / name, 40)
        progress.refresh()
        progress.remove_run(tmp_path / 'one')
        progress.refresh()
        console.print('done')
    before, after = console.file.getvalue().split('done')
    assert '━' in before and 'one' in before and 'two' in before
    assert 'one' not in after
    # At the end the lines that were drawn are taken away.
    assert after.endswith('\x1b[1A\x1b[2K')


def test_runs_are_printed_now_and_then_elsewhere(tmp_path):
    for interval, expected in ((0, ['one', 'two', 'done']), (20, ['done'])):
        console = open_console(io.StringIO())
        with RunProgress(console, interval) as progress:
            progress.add_run('one', tmp_path / 'one', 40)
            progress.add_run('two', tmp_path / 'two', 0)
            progress.update(progress.task_ids[0])
            console.print('done')
        lines = console.file.getvalue().splitlines()
        assert [line.split()[0] for line in lines] == expected
