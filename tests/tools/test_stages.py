"""Stages and their progress: kept, stopped, failed, resumed."""

import io
import json
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tools.experiments.progress import ProgressBar, Screen, last_metrics, read_scalars
from tools.experiments.stages import (
    Stage,
    StageError,
    fingerprint,
    last_checkpoint,
    resume_point,
    set_aside,
)


def python(code):
    return [sys.executable, '-c', code]


def test_a_finished_stage_is_known_again(tmp_path):
    stage = Stage('one', tmp_path / 'one', 'mark')
    stage.run(python('print("hello")'))
    assert 'hello' in stage.log.read_text()
    stage.finish(dict(top1=1.5))
    again = Stage('one', tmp_path / 'one', 'mark')
    assert again.state == stage.state and again.state['done']
    assert again.state['metrics'] == dict(top1=1.5) and again.moved is None


def test_other_settings_begin_afresh_and_delete_nothing(tmp_path):
    stage = Stage('one', tmp_path / 'one', fingerprint(dict(lr=1)))
    stage.run(python('pass'))
    stage.finish()
    other = Stage('one', tmp_path / 'one', fingerprint(dict(lr=2)))
    assert not other.state['done'] and not (tmp_path / 'one').exists()
    assert json.loads((other.moved / 'state.json').read_text())['done']


def test_set_aside_twice_in_a_second(tmp_path):
    for _ in range(3):
        (tmp_path / 'run').mkdir()
        set_aside(tmp_path / 'run')
    assert len(list(tmp_path.glob('run.old-*'))) == 3


def test_a_failure_shows_the_end_of_the_log(tmp_path):
    stage = Stage('one', tmp_path / 'one', 'mark')
    code = 'import sys; print("far away\\n" * 50); print("the reason"); sys.exit(3)'
    with pytest.raises(StageError, match='status 3') as error:
        stage.run(python(code))
    assert 'the reason' in str(error.value) and str(stage.log) in str(error.value)
    assert str(error.value).count('far away') < 20
    assert not Stage('one', tmp_path / 'one', 'mark').state['done']


def test_ctrl_c_ends_the_command_and_its_children(tmp_path):
    stage = Stage('one', tmp_path / 'one', 'mark')
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
        stage.run(python(code))
    size = beat.stat().st_size
    time.sleep(0.3)
    assert beat.stat().st_size == size
    again = Stage('one', tmp_path / 'one', 'mark')
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


def test_progress_bar(tmp_path):
    bar = ProgressBar('one', tmp_path, 40)
    assert 'starting' in bar.line(now=bar.began)
    write_scalars(tmp_path, dict(loss=3.0, step=10))
    assert ' 25%  loss 3.000' in bar.line(now=100.0)
    write_scalars(tmp_path, dict(loss=2.0, step=20), run='20260101_000001')
    # Ten steps took 30 seconds, twenty are left.
    assert bar.line(now=130.0).endswith('50%  loss 2.000  1:00 left')
    write_scalars(tmp_path, dict(loss=2.0, step=40), run='20260101_000002')
    assert 'evaluating' in bar.line(now=200.0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_screen_redraws_on_a_terminal(tmp_path):
    screen = Screen(Terminal())
    bars = [ProgressBar(name, tmp_path, 40) for name in ('one', 'two')]
    screen.draw(bars)
    screen.draw(bars)
    screen.say('done')
    up = '\x1b[1A\x1b[2K'
    written = screen.stream.getvalue()
    # Each time, as many lines are taken away as were drawn.
    assert written.count(up) == 4
    assert written.endswith(f'{up}{up}done\n')


def test_screen_prints_now_and_then_elsewhere(tmp_path):
    bars = [ProgressBar(name, tmp_path, 40) for name in ('one', 'two')]
    often, seldom = Screen(io.StringIO(), every=0.0), Screen(io.StringIO())
    for screen in (often, seldom):
        screen.draw(bars)
        screen.say('done')
    assert [line[:4] for line in often.stream.getvalue().splitlines()] == [
        'one ',
        'two ',
        'done',
    ]
    assert seldom.stream.getvalue() == 'done\n'
