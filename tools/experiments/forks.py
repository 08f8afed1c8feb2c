"""Run Python tools as forks of one process that has imported the hosts.

Every process that uses torch and the hosts takes seconds to import them. Where the runs
of a plan are short, on a CPU, they are imported once. No GPU can be used after a fork
of a process that has looked for one, so there every tool is a program of its own.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

CONTEXT = multiprocessing.get_context('forkserver')


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
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status; None while it runs."""
        return self.process.exitcode

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float) -> int:
        """Return the exit status once there is one.

        Raises:
            subprocess.TimeoutExpired: It still runs after ``timeout`` seconds.
        """
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self.process.exitcode


def run_tool(arguments: Sequence[str], log: str, env: Mapping[str, str]) -> None:
    """Run a script in this process, which is a fork, as if it were a program.

    Args:
        arguments: The script and its arguments.
        log: File that what it prints is added to.
        env: Environment.
    """
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    with open(log, 'a') as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
            stream.reconfigure(line_buffering=True)
    sys.argv = list(arguments)
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name='__main__')
