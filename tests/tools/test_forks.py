"""Tools as forks of one process: the same as programs of their own."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tools.experiments.forks import ForkedTool, start_server
from tools.experiments.jobs import Job, JobError

SCRIPT = """
import os, pathlib, sys
print(__name__, sys.argv[1:], os.environ['GREETING'], os.getsid(0) == os.getpid())
print('torch' in sys.modules and 'mmdet' in sys.modules, file=sys.stderr)
import neighbour
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / 'neighbour.py').write_text('import sys; sys.exit(len(sys.argv) - 1)')
    path = tmp_path / 'script.py'
    path.write_text(SCRIPT)
    return path


def start(script, *args):
    env = {**os.environ, 'GREETING': 'hello', 'PYTHONPATH': os.getcwd()}
    start_server(env)
    log = script.with_suffix('.log')
    return ForkedTool([sys.executable, str(script), *args], log, env), log


def test_a_fork_is_like_a_program(script):
    before = dict(os.environ)
    tool, log = start(script, 'a', 'b')
    assert tool.wait(60) == tool.poll() == tool.returncode == 2
    assert log.read_text().splitlines() == [
        "__main__ ['a', 'b'] hello True",
        'True',
    ]
    assert dict(os.environ) == before


def test_a_fork_can_be_waited_for_and_ended(script):
    script.write_text('import time; print("begun"); time.sleep(60)')
    tool, log = start(script)
    while not log.is_file() or 'begun' not in log.read_text():
        time.sleep(0.05)
    assert tool.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        tool.wait(0.01)
    os.killpg(tool.pid, signal.SIGTERM)
    assert tool.wait(10) == -signal.SIGTERM


def test_what_a_fork_prints_is_in_the_log_of_its_job(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('import sys; print("far away\\n" * 50); sys.exit("the reason")')
    job = Job('one', tmp_path / 'one', 'mark')
    with pytest.raises(JobError, match='status 1') as error:
        job.run([sys.executable, script], forked=True)
    assert 'the reason' in str(error.value)
    assert str(error.value).count('far away') < 20
