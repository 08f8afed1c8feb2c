"""A data folder appears whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmtlalign.errors import InputError


@contextlib.contextmanager
def new_folder(root: Path) -> Iterator[Path]:
    """Give a folder to fill, which becomes ``root`` when all went well.

    It is made beside ``root``, so on the same disk, as ``<root>.part-…``. After any
    error, Ctrl-C and SystemExit too, it is taken away and there is no ``root``.

    Args:
        root (Path): Must not exist.

    Yields:
        Path: The folder to fill.

    Raises:
        InputError: If ``root`` exists, or a killed run left a part behind.
    """
    root = Path(os.path.abspath(root))
    refuse_existing(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    left = sorted(root.parent.glob(f'{root.name}.part-*'))
    if left:
        names = ' '.join(map(str, left))
        raise InputError(
            f'{left[0]} is there: another run is making {root}, or one was killed. If '
            f'none is running: rm -r {names}'
        )
    part = Path(tempfile.mkdtemp(prefix=f'{root.name}.part-', dir=root.parent))
    try:
        os.chmod(part, 0o777 & ~_umask())  # mkdtemp shuts out everybody else
        yield part
        refuse_existing(root)
        os.rename(part, root)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def refuse_existing(root: Path) -> None:
    """Raise if something has the name already."""
    if os.path.lexists(root):
        raise InputError(
            f'{root} exists already and is never overwritten; move it away, or choose '
            'another folder with --root DIR'
        )


def _umask() -> int:
    """The mask of this process, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
