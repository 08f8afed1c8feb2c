"""The folder of a run: who may write to it, and which checkpoint continues it."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from logging import Logger
from pathlib import Path

from mmengine import dist
from mmengine.config import Config
from mmengine.runner import Runner

from mmtlalign.checkpoint.check import check_checkpoint
from mmtlalign.checkpoint.io import read_checkpoint
from mmtlalign.compat.files import check_file
from mmtlalign.compat.run_checkpoints import (
    POINTER,
    checkpoints_in,
    last_checkpoint,
    pointed_to,
    step_of,
)
from mmtlalign.errors import InputError, some_of

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LOCK = '.lock'
# Files of a run that a later --resume, or a hook, would take for its own.
REMAINS = ('epoch_*.pth', 'iter_*.pth', 'best_*.pth', 'queue*.pth', POINTER)


# ---------------------------------------------------------------------- who writes


@contextlib.contextmanager
def claim_folder(cfg: Config, overwrite: bool = False) -> Iterator[None]:
    """Claim the work directory of a training run for this process.

    Args:
        cfg: ``work_dir``, ``resume`` and ``randomness`` are read; a run that is resumed
            gets the random seed that it began with.
        overwrite: Whether the checkpoints of an earlier run there may be deleted.

    Raises:
        InputError: The folder cannot be written, another process uses it, or it has
            the checkpoints of an earlier run and neither ``resume`` nor ``overwrite``
            is set.
    """
    folder = Path(cfg.work_dir)
    main = is_first_process(cfg.get('launcher', 'none'))
    with lock_folder(folder) if main else contextlib.nullcontext():
        found = written_checkpoints(folder)
        if found and not cfg.get('resume') and not overwrite:
            raise InputError(
                f"work directory '{folder}' has the checkpoints of an earlier run "
                f'({some_of([path.name for path in found], 3)}). Continue that run: '
                '--resume. Start again: --work-dir NEW_FOLDER, or --overwrite, which '
                'deletes them'
            )
        if main:
            for path in folder.glob('.*.part'):  # of a run that was killed
                path.unlink(missing_ok=True)
            if overwrite and not cfg.get('resume'):
                for pattern in REMAINS:
                    for path in folder.glob(pattern):
                        path.unlink()
        take_seed(cfg)
        yield


def is_first_process(launcher: str) -> bool:
    """Return whether this is the first process of a run; works before they connect."""
    ranks = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return launcher == 'none' or all(os.environ.get(r, '0') == '0' for r in ranks)


def make_folder(folder: str | Path, option: str = '--work-dir') -> Path:
    """Make a work directory, and check with its lock file that it can be written.

    Args:
        folder: The directory.
        option: Command-line option that names it, for the message.

    Returns:
        The path of the lock file.

    Raises:
        InputError: The directory cannot be written.
    """
    lock = Path(folder) / LOCK
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.open('a', encoding='utf-8').close()
    except OSError as error:
        raise InputError(
            f"work directory '{folder}' cannot be written ({error.strerror}). Name "
            f'another with {option} FOLDER'
        ) from error
    return lock


@contextlib.contextmanager
def lock_folder(folder: Path, option: str = '--work-dir') -> Iterator[None]:
    """Lock a folder until the process ends, even by ``kill -9``.

    Args:
        folder: The directory; it is made if it does not exist.
        option: Command-line option that names it, for the message.

    Raises:
        InputError: It cannot be written, or another process has locked it.
    """
    with make_folder(folder, option).open('a+', encoding='utf-8') as file:
        try:
            if fcntl is not None:
                # A lock of the process alone: data workers, which may outlive it, do
                # not inherit it.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.truncate(0)
                file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
                file.flush()
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise InputError(
                f"work directory '{folder}' is in use by {file.read().strip()}. Wait "
                f'until that is done, stop it, or name another with {option} FOLDER'
            ) from error
        except OSError:
            pass  # a file system without locks
        yield


def take_seed(cfg: Config) -> None:
    """Set the seed of a resumed run to the one in its checkpoint."""
    randomness = cfg.get('randomness') or {}
    if not cfg.get('resume'):
        return
    path = cfg.get('load_from') or find_checkpoint(cfg.work_dir)
    if path and '://' not in str(path):
        content = read_checkpoint(str(path), 'checkpoint', '', 'meta')
        seed = content.get('meta', {}).get('seed')
        if seed is None:
            return
        if randomness.get('seed') not in (None, seed):
            print(
                f'randomness.seed={randomness["seed"]} has no effect: a resumed run '
                f'keeps the seed of its checkpoint, {seed}',
                file=sys.stderr,
            )
        cfg.randomness = dict(randomness, seed=seed)


# ---------------------------------------------------------------- which checkpoint


def written_checkpoints(folder: str | Path) -> list[Path]:
    """List the checkpoints of a run, also if it wrote them to another folder."""
    found, last = checkpoints_in(folder), last_checkpoint(folder)
    # mmengine's CheckpointHook has an `out_dir`.
    return found or ([last] if last else [])


def has_checkpoints(folder: str | Path) -> bool:
    """Return whether a run has written checkpoints there, even if they are gone."""
    return bool(checkpoints_in(folder)) or pointed_to(folder) is not None


def find_checkpoint(folder: str | Path, logger: Logger | None = None) -> str | None:
    """Return the checkpoint to resume from: the last one that is whole.

    Returns:
        Its path; None if the run has written none yet.

    Raises:
        InputError: There are checkpoints, but none is whole.
    """
    candidates, last = checkpoints_in(folder), pointed_to(folder)
    if last is not None:
        # Later files are left over from another run.
        number = step_of(last)
        candidates = candidates or checkpoints_in(last.parent)
        earlier = [p for p in candidates if number < 0 or step_of(p) < number]
        candidates = [last, *earlier]
    faults = []
    for path in candidates:
        try:
            check_file(path, 'checkpoint')
            check_checkpoint(str(path), resume=True)
        except InputError as error:
            faults.append(str(error))
            continue
        if faults and logger is not None:
            logger.warning(f'{" ".join(faults)} Resuming from the one before: {path}')
        return str(path)
    if faults:
        raise InputError(
            f"--resume: no checkpoint in '{folder}' is complete. {faults[0]} Start "
            'again with --overwrite, or in another --work-dir'
        )
    return None


def describe_last(folder: str | Path) -> str:
    """Return a sentence about the checkpoint that a run can continue from."""
    last = last_checkpoint(folder)
    if last is None:
        return 'No checkpoint has been written yet.'
    return f'The last good checkpoint is {last}: see --resume.'


def check_same_start(runner: Runner) -> None:
    """Check that all processes begin with the same iteration.

    Raises:
        InputError: One has loaded another checkpoint, or none: as on a second machine
            that has another work directory.
    """
    if runner.world_size == 1:
        return
    starts = dist.all_gather_object((runner.iter, runner._load_from is not None))
    if len(set(starts)) > 1:
        listed = ', '.join(
            f'{rank}: {"a" if loaded else "no"} checkpoint, iteration {step}'
            for rank, (step, loaded) in enumerate(starts)
        )
        raise InputError(
            f'The processes do not begin alike ({listed}). Give all machines the same '
            'work directory, or the checkpoint: --resume FILE'
        )
