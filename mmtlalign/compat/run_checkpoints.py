"""Find the checkpoints that a run of mmengine has written, without PyTorch."""

import re
from pathlib import Path

# File in a work directory with the path of the checkpoint written last.
POINTER = 'last_checkpoint'


def checkpoints_in(folder: str | Path) -> list[Path]:
    """List the checkpoints ``epoch_*.pth`` and ``iter_*.pth``, highest number first."""
    found = [*Path(folder).glob('epoch_*.pth'), *Path(folder).glob('iter_*.pth')]
    numbered = [path for path in found if step_of(path) >= 0]
    return sorted(numbered, key=lambda path: (step_of(path), path.name), reverse=True)


def step_of(path: Path) -> int:
    """Return 200 for iter_200.pth; -1 for a name of another form."""
    match = re.fullmatch(r'(?:epoch|iter)_(\d+)', path.stem)
    return int(match[1]) if match else -1


def last_checkpoint(folder: str | Path) -> Path | None:
    """Return the checkpoint that the run wrote last; the folder may have been moved."""
    path = pointed_to(folder)
    return path if path is not None and path.is_file() else None


def pointed_to(folder: str | Path) -> Path | None:
    """Return the checkpoint that the run wrote last, even if it is gone."""
    try:
        text = (Path(folder) / POINTER).read_text(encoding='utf-8').strip()
    except OSError:
        return None
    if not text:  # the disk was full, or the run was killed
        return None
    # mmengine wrote the path of that time: outside the folder if `out_dir` was set,
    # and out of date if the folder was renamed.
    outside = Path(text)
    inside = Path(folder) / outside.name
    return outside if outside.is_file() and not inside.is_file() else inside
