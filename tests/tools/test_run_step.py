"""The one live line of a set-up's step, and what a failure shows."""

import os
import signal
import subprocess
import sys
import time

import pytest
from repository import ROOT, tool

run_step = tool('run_step')


@pytest.mark.parametrize(
    'line, text',
    [
        (
            '  [12/78] c++ -MMD -I/a -c -c /b/csrc/pytorch/nms.cpp -o /b/nms.o\n',
            'file 12 of 78, nms.cpp',
        ),
        ('[3/9] /usr/bin/nvcc -c /b/nms_cuda.cu -o x', 'file 3 of 9, nms_cuda.cu'),
        ('Collecting torch==2.11.0 (from -r pins.txt)\n', 'collecting torch==2.11.0'),
        ('  Downloading a/torch-2.11.0.whl (530 MB)\n', 'downloading torch-2.11.0.whl'),
        ('Installing collected packages: a, b, c\n', 'installing 3 packages'),
        ('  Building wheel for onedl-mmcv (pyproject.toml): started\n',
         'building wheel for onedl-mmcv'),
        ('  running build_ext\n', None),
        ('/a/nms.cpp:12:3: warning: unused [-Wunused]\n', None),
    ],
)  # fmt: skip
def test_progress_is_read_from_the_output(line, text):
    assert run_step.progress(line) == text


def test_times_are_shown_as_minutes_and_seconds():
    assert [run_step.clock(s) for s in (0, 9.9, 61, 754)] == [
        '0:00',
        '0:09',
        '1:01',
        '12:34',
    ]


def test_without_a_terminal_lines_come_seldom(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run_step, 'SECONDS_BETWEEN_LINES', 1)
    code = (
        'import time\n'
        'for i in range(1, 4):\n'
        '    print(f"[{i}/3] c++ -c {i}.cpp", flush=True)\n'
        '    time.sleep(0.8)'
    )
    log = tmp_path / 'log'
    began = time.monotonic()
    assert run_step.run('compiling', [sys.executable, '-c', code], str(log)) == 0
    elapsed = time.monotonic() - began
    shown = capsys.readouterr().err.splitlines()
    # A busy machine takes longer than the 2.4 seconds that the code sleeps.
    possible = {run_step.clock(s) for s in range(2, int(elapsed) + 1)}
    assert shown[-1].removeprefix('  compiling: done, ') in possible
    assert 1 <= len(shown) - 1 <= 3 and all(' of 3, ' in line for line in shown[:-1])
    assert '[3/3] c++ -c 3.cpp' in log.read_text()


def test_a_failure_shows_every_error(tmp_path, capsys):
    code = (
        'print("a.cpp:1: error: no such type")\n'
        'print("c++ -Werror=format -c b.cpp")\n'
        'print("\\n".join(f"note {i}" for i in range(60)))\n'
        'raise SystemExit(3)'
    )
    log = str(tmp_path / 'log')
    assert run_step.run('compiling', [sys.executable, '-c', code], log) == 3
    shown = capsys.readouterr().err
    assert 'compiling: failed with exit code 3' in shown
    assert 'a.cpp:1: error: no such type' in shown and '-Werror' not in shown
    assert 'note 59' in shown and log in shown


def test_ctrl_c_stops_the_command_too(tmp_path):
    code = 'import time; print("[1/2] c++ -c a.cpp", flush=True); time.sleep(60)'
    command = [sys.executable, str(ROOT / 'tools' / 'run_step.py')]
    command += [
        '--log',
        str(tmp_path / 'log'),
        'a step',
        '--',
        sys.executable,
        '-c',
        code,
    ]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    log = tmp_path / 'log'
    while not (log.exists() and '[1/2]' in log.read_text()):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, shown = process.communicate(timeout=20)
    assert process.returncode == 130 and 'stopped' in shown
