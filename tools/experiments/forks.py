"""Run Python tools as forks of one process that has imported the hosts.

Every process that uses torch and the hosts takes seconds to import them. Where the runs
of a plan are short, on a CPU, they are imported once. No GPU can be used after a fork
of a process that has looked for one, so there every tool is a program of its own.
"""

import contextlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import connection, forkserver
from pathlib import Path

CONTEXT = multiprocessing.get_context('forkserver')
# Starting a process polls all others of multiprocessing. A status can be read once, and
# whoever comes second is told 255: so no two threads poll at a time.
_polling = threading.Lock()


def start_server(env: Mapping[str, str]) -> None:
    """Start the process that imports, unless it runs; it needs no waiting for.

    Args:
        env: Its environment.
    """
    CONTEXT.set_forkserver_preload(['tools.experiments.preload'])
    before = dict(os.environ)
    os.environ.update(env)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


class ForkedTool:
    """A Python tool that runs in a session of its own; used like a ``Popen``.

    Args:
        command: Python, the script and its arguments.
        log: File that what it prints is added to.
        env: Its environment. Defaults to that of this process.
    """

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ):
        env = dict(os.environ if env is None else env)
        self.process = CONTEXT.Process(
            target=run_tool, args=(command[1:], str(log), env)
        )
        with _polling:
            self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status; None while it runs."""
        return self.poll()

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        with _polling:
            return self.process.exitcode

    def wait(self, timeout: float) -> int:
        """Return the exit status once there is one.

        Raises:
            subprocess.TimeoutExpired: It still runs after ``timeout`` seconds.
        """
        connection.wait([self.process.sentinel], timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return status


def keep_priority(pid: int | str = 'self') -> None:
    """Give a new session the niceness of this process.

    Where Linux groups processes by session, niceness counts within a session alone, and
    a session begins with that of usual work.

    Args:
        pid: A process of the session.
    """
    with contextlib.suppress(OSError):  # no such groups here
        Path(f'/proc/{pid}/autogroup').write_text(str(os.nice(0)))


def run_tool(arguments: Sequence[str], log: str, env: Mapping[str, str]) -> None:
    """Run a script in this process, which is a fork, as if it were a program.

    Args:
        arguments: The script and its arguments.
        log: File that what it prints is added to.
        env: Environment.
    """
    os.setsid()
    keep_priority()
    os.environ.clear()
    os.environ.update(env)
    # It begins with the way of starting processes that started it, which is slower and
    # keeps semaphores that a process that is killed leaves behind.
    multiprocessing.set_start_method(None, force=True)
    with open(log, 'a') as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
            stream.reconfigure(line_buffering=True)
    sys.argv = list(arguments)
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name='__main__')
