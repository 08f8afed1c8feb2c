"""One job of a plan: a command and the folder that keeps its state.

A job is done when its folder says so, with the fingerprint of all that its result
depends on. A later run needs nothing else to go on where an earlier one stopped.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmtlalign.compat.run_checkpoints import checkpoints_in, last_checkpoint, step_of
from tools.experiments.forks import ForkedTool, keep_priority
from tools.output import write_json

# Key of the fingerprint in state.json: another name would repeat all earlier runs.
FINGERPRINT = 'mark'


class JobError(RuntimeError):
    """Failure of the command of a job; the message shows the end of its log."""


@dataclass
class Job:
    """One command with a folder of its own.

    Attributes:
        name: Shown to the user.
        folder: Keeps ``state.json``, ``console.log`` and what the command writes.
        fingerprint: Digest of everything that the result depends on.
        needs: Names of the jobs before it.
        task: ``'pretrain'``, ``'export'`` or a task of the plan; None for a job that
            serves all.
        start: Start of the plan; None for a job that serves all.
        seed: Seed; None for a job that serves all.
        config: Config file of a training run.
        cfg: The same, read.
        options: Dotted key to value of a training run, for ``--cfg-options``.
        columns: Column of the table to mmengine's name of a metric.
        total: Iterations, or epochs, of a training run.
        command: Program and arguments, if they are known before the jobs before it.
        state: ``done``, ``seconds`` so far, ``metrics``, and ``sources``, digests of
            the code that ran; ``state.json`` also has the fingerprint.
    """

    name: str
    folder: Path
    fingerprint: str
    needs: list[str] = field(default_factory=list)
    task: str | None = None
    start: str | None = None
    seed: int | None = None
    config: str | None = None
    cfg: Config | None = None
    options: dict = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    total: int = 0
    command: list | None = None
    state: dict = field(default_factory=lambda: dict(done=False, seconds=0, metrics={}))

    @property
    def log(self) -> Path:
        """File with everything that the command printed."""
        return self.folder / 'console.log'

    def load(self) -> Path | None:
        """Read the state of an earlier run.

        Returns:
            The new name of the folder if it was begun with other settings, else None.
        """
        path = self.folder / 'state.json'
        state = json.loads(path.read_text()) if path.is_file() else {}
        if state.get(FINGERPRINT) == self.fingerprint:
            self.state = state
        elif self.folder.exists() and any(self.folder.iterdir()):
            return set_aside(self.folder)
        return None

    def run(
        self,
        command: Sequence[Any],
        env: Mapping[str, str] | None = None,
        check: Callable[[], None] = lambda: None,
        forked: bool = False,
        source: str = '',
    ) -> None:
        """Run a command to its end, or until the user stops it.

        The command gets a session of its own, so that Ctrl-C reaches this process
        alone and the command is ended in an orderly way.

        Args:
            command: Program and arguments.
            env: Its environment. Defaults to that of this process.
            check: Called about twice a second; what it raises ends the command.
            forked: Whether a Python tool runs as a fork, see :mod:`.forks`.
            source: Digest of the code of the command, for ``state``.

        Raises:
            JobError: The command failed.
            KeyboardInterrupt: The user stopped the run; the time spent is kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        began, before = time.monotonic(), self.state['seconds']
        self.state['sources'] = sorted({*self.state.get('sources', ()), source})
        command = list(map(str, command))
        with open(self.log, 'a') as log:
            print(f'\n$ {" ".join(command)}', file=log)
        forked = forked and command[0] == sys.executable
        process = (ForkedTool if forked else _start)(command, self.log, env)
        try:
            while _is_running(process):
                check()
        finally:
            _end(process)
            self.state['seconds'] = before + time.monotonic() - began
            self.save()
        if process.returncode:
            tail = ''.join(self.log.read_text(errors='replace').splitlines(True)[-15:])
            raise JobError(
                f'job {self.name!r} failed with status {process.returncode}. '
                f'The end of {self.log}:\n\n{tail}'
            )

    def finish(self, metrics: Mapping[str, float] | None = None) -> None:
        """Save that the job is done, and its metrics."""
        self.state.update(done=True, metrics=dict(metrics or {}))
        self.save()

    def save(self) -> None:
        """Write ``state.json``."""
        self.state[FINGERPRINT] = self.fingerprint
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / 'state.json', self.state)


def fingerprint(*parts: Any) -> str:
    """Return a digest of 16 digits of the parts, as JSON."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def set_aside(folder: Path) -> Path:
    """Rename a folder so that its place is free; nothing is deleted.

    Args:
        folder: An existing folder.

    Returns:
        Its new name, with the time of day in it.
    """
    stamp = datetime.now().strftime('%Y%m%d-%H%M%S')
    target = folder.with_name(f'{folder.name}.old-{stamp}')
    number = 1
    while target.exists():
        number += 1
        target = folder.with_name(f'{folder.name}.old-{stamp}-{number}')
    folder.rename(target)
    return target


def checkpoint_at(folder: Path, step: int) -> Path:
    """Return the checkpoint of an iteration, or epoch, of a run of mmengine.

    Raises:
        JobError: It was removed.
    """
    last = last_checkpoint(folder)
    for path in checkpoints_in(last.parent if last else folder):
        if step_of(path) == step:
            return path
    raise JobError(
        f'{folder} has no checkpoint of step {step}. Remove the folder, so that the '
        'run is repeated.'
    )


def resume_point(folder: Path, total: int) -> Path | None:
    """Return the checkpoint to go on from, None for the beginning.

    From the last checkpoint mmengine would find nothing left to do and skip the
    evaluation, so a run stopped while evaluating goes on from the one before.

    Args:
        folder: Work directory of the run.
        total: Iterations of the run, or epochs if it counts epochs.
    """
    newest = last_checkpoint(folder)
    if newest is None or step_of(newest) < total:
        return newest
    kept = checkpoints_in(newest.parent)
    return next((path for path in kept if step_of(path) < total), None)


def _start(command, log, env):
    with open(log, 'a') as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        )
    keep_priority(process.pid)
    return process


def _is_running(process: subprocess.Popen | ForkedTool, wait: float = 0.5) -> bool:
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process: subprocess.Popen | ForkedTool, patience: float = 10) -> None:
    """End a command and its data workers, politely first."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
