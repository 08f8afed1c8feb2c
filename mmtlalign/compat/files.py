"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path, sync: bool = False) -> Iterator[Path]:
    """Write a file under another name, which becomes the file if all goes well.

    Nobody reads half a file, and an error or a stopped process leaves an earlier file
    as it was::

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
