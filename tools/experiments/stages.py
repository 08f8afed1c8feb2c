"""Run commands one after the other, each in a folder that remembers it.

A stage is finished when its folder says so, with the fingerprint of what was
asked for. That is all a later run needs in order to go on where an earlier one
stopped.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


class StageError(RuntimeError):
    """The command of a stage failed; the message shows the end of its log."""


@dataclass
class Stage:
    """One command with a folder of its own.

    Attributes:
        name (str): Shown to the user.
        folder (Path): Keeps ``state.json``, ``console.log`` and what the
            command writes.
        mark (str): Fingerprint of all that the result depends on.
        state (dict): ``mark``, ``done``, ``seconds`` so far and ``metrics``.
        moved (Path | None): Where a folder of another mark was moved to.
    """

    name: str
    folder: Path
    mark: str
    state: dict = field(init=False)
    moved: Path | None = field(init=False, default=None)

    def __post_init__(self):
        path = self.folder / 'state.json'
        self.state = json.loads(path.read_text()) if path.is_file() else {}
        if self.state.get('mark') != self.mark:
            # Begun under other settings, or a folder of somebody else.
            if self.folder.exists() and any(self.folder.iterdir()):
                self.moved = set_aside(self.folder)
            self.state = dict(mark=self.mark, done=False, seconds=0.0, metrics={})

    @property
    def log(self) -> Path:
        """Everything that the command printed."""
        return self.folder / 'console.log'

    def run(self, command, env=None, tick=None):
        """Run the command to its end, or until the user stops it.

        The command gets a session of its own, so that Ctrl-C reaches this
        process alone and the command is ended in an orderly way.

        Args:
            command (list[str]): Program and arguments.
            env (dict, optional): Its environment.
            tick (Callable, optional): Called about twice a second.

        Raises:
            StageError: If the command fails.
            KeyboardInterrupt: If the user stops the run; the time spent is kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        before = self.state['seconds']
        with open(self.log, 'a') as log:
            print(f'\n$ {" ".join(map(str, command))}', file=log, flush=True)
            process = subprocess.Popen(
                list(map(str, command)),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=env,
                start_new_session=True,
            )
            try:
                while _running(process):
                    if tick:
                        tick()
            finally:
                _end(process)
                self.state['seconds'] = before + time.monotonic() - began
                self.save()
        if process.returncode:
            tail = ''.join(self.log.read_text(errors='replace').splitlines(True)[-15:])
            raise StageError(
                f'stage {self.name!r} failed with status {process.returncode}. '
                f'The end of {self.log}:\n\n{tail}'
            )

    def finish(self, metrics=None):
        """Remember that the stage is done.

        Args:
            metrics (dict, optional): What it measured.
        """
        self.state.update(done=True, metrics=metrics or {})
        self.save()

    def save(self):
        """Write ``state.json``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / 'state.json', self.state)


def fingerprint(*parts) -> str:
    """Hash of anything that JSON can hold; what it cannot hold counts as text."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def set_aside(folder: Path) -> Path:
    """Rename a folder so that its place is free; nothing is deleted.

    Args:
        folder (Path): An existing folder.

    Returns:
        Path: Its new name, with the time of day in it.
    """
    stamp = datetime.now().strftime('%Y%m%d-%H%M%S')
    target = folder.with_name(f'{folder.name}.old-{stamp}')
    number = 1
    while target.exists():
        number += 1
        target = folder.with_name(f'{folder.name}.old-{stamp}-{number}')
    folder.rename(target)
    return target


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run of mmengine, or None.

    mmengine writes its name down after the file itself. The folder may have
    been moved since.
    """
    marker = folder / 'last_checkpoint'
    if not marker.is_file():
        return None
    path = folder / Path(marker.read_text().strip()).name
    return path if path.is_file() else None


def resume_point(folder: Path, total: int) -> Path | None:
    """The checkpoint to go on from, or None for the beginning.

    Args:
        folder (Path): Work directory of the run.
        total (int): Iterations of the run, or epochs if it counts epochs. From its
            last checkpoint mmengine would find nothing left to do and skip the
            evaluation, so a run stopped while evaluating goes on from the one before.
    """
    newest = last_checkpoint(folder)
    if newest is None or _number(newest) < total:
        return newest
    kind = newest.stem.split('_')[0]
    earlier = [p for p in folder.glob(f'{kind}_*.pth') if _number(p) < total]
    return max(earlier, key=_number, default=None)


def write_json(path: Path, content):
    """Write a file in one step, so that nobody ever reads half of it."""
    part = path.with_name(f'{path.name}.part')
    part.write_text(json.dumps(content, indent=2) + '\n')
    os.replace(part, path)


def _number(path):
    """iter_200.pth -> 200"""
    return int(path.stem.rsplit('_', 1)[1])


def _running(process, wait=0.5):
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process, patience=10):
    """End the command and its data workers, first politely."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
