"""Check that files exist, and write files atomically."""

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmtlalign.errors import InputError


@contextmanager
def atomic_write(path: str | Path, sync: bool = False) -> Iterator[Path]:
    """Write a file under a temporary name, and rename it if there was no error.

    Nobody can read a partial file, and after an error or a killed process an earlier
    file is as it was::

        with atomic_write(path) as part:
            part.write_text(text)

    Args:
        path: The file; one that exists is replaced. Its folder must exist.
        sync: Whether the bytes are on the disk before the file gets its name, so that
            it is whole after a power cut as well. Defaults to False.

    Yields:
        The path to write to, ``.NAME.PID.part`` in the same folder. It has another
        suffix: give a stream to functions that choose or add one (``np.save``).
    """
    path = Path(path)
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        yield part
        if sync:
            with part.open('r+b') as stream:
                os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def check_file(path: str | Path, what: str) -> None:
    """Check that a file exists, before anything slow is imported.

    Args:
        path: The file; ``~`` is expanded. URLs and recipes of an installed package
            (``mmtlalign::…``) are not checked.
        what: Its name in the message, such as 'checkpoint'.

    Raises:
        InputError: It does not exist; the message has the nearest name in its folder.
    """
    file = Path(path).expanduser()
    if '://' in str(path) or '::' in str(path) or file.is_file():
        return
    if file.is_dir():
        raise InputError(f"{what} '{path}' is a folder, but one file is needed")
    names = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
    near = difflib.get_close_matches(file.name, names, n=1, cutoff=0.8)
    remedy = f"did you mean '{file.with_name(near[0])}'?" if near else 'check the path'
    raise InputError(f"{what} '{path}' does not exist; {remedy}")
