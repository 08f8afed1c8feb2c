"""Tools as forks of one process: the same as programs of their own."""

import multiprocessing.connection
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path

import pytest

from tools.experiments.forks import ForkedTool, start_server
from tools.experiments.jobs import Job, JobError

SCRIPT = """
import multiprocessing, os, pathlib, sys
print(__name__, sys.argv[1:], os.environ['GREETING'], os.getsid(0) == os.getpid())
print('start method:', multiprocessing.get_start_method(allow_none=True))
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
        'start method: None',
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


def test_two_threads_may_ask_for_a_status(script, monkeypatch):
    # Starting a process polls all others, whose status can be read once. A slow reader
    # makes sure that both have seen that there is one.
    def read_slowly(fd, read=forkserver.read_signed):
        time.sleep(0.2)
        return read(fd)

    script.write_text('import sys; sys.exit(7)')
    tool, _ = start(script)
    multiprocessing.connection.wait([tool.process.sentinel], 60)
    monkeypatch.setattr(forkserver, 'read_signed', read_slowly)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda _: tool.poll(), range(2)))
    assert found == [7, 7] and tool.poll() == 7


AUTOGROUP = Path('/proc/self/autogroup')


@pytest.mark.skipif(not AUTOGROUP.exists(), reason='no groups of sessions here')
@pytest.mark.parametrize('forked', [True, False])
def test_a_job_stands_back_as_far_as_who_started_it(tmp_path, forked):
    script = tmp_path / 'script.py'
    script.write_text("print(open('/proc/self/autogroup').read())")
    lines = [
        'import os, sys',
        'from pathlib import Path',
        'from tools.experiments.jobs import Job',
        'os.nice(7)',
        f"job = Job('one', Path({str(tmp_path)!r}) / 'one', 'mark')",
        f'job.run([sys.executable, {str(script)!r}], forked={forked})',
    ]
    env = {**os.environ, 'PYTHONPATH': os.getcwd()}
    command = [sys.executable, '-c', '\n'.join(lines)]
    subprocess.run(command, env=env, check=True)
    assert (tmp_path / 'one/console.log').read_text().rstrip().endswith('nice 7')
