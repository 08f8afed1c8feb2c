"""Per-image results in files, so that a stopped measurement goes on where it was."""

import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmtlalign.compat.files import atomic_write

SAVE_SECONDS = 30.0
INDEX = 'index'


class PartFiles:
    """Arrays with one row an image, in files that several processes may add to.

    A file appears whole or not at all. What a killed process had not saved is measured
    again, to the same numbers.

    Args:
        folder: Holds the files of one measurement and nothing else.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._batches: list[dict[str, np.ndarray]] = []
        self._saved_at = time.monotonic()

    def add(self, indices: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """Add rows, and save what has gathered every half a minute.

        Args:
            indices: Places of the images in their data set.
            arrays: Name to array (len(indices), ...).
        """
        self._batches.append({INDEX: np.asarray(indices), **arrays})
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the rows that no file has yet."""
        if self._batches:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (
                atomic_write(self.folder / f'{uuid.uuid4().hex}.npz') as part,
                open(part, 'wb') as file,
            ):
                np.savez(file, **_join(self._batches))
        self._batches = []
        self._saved_at = time.monotonic()

    def saved_indices(self) -> set[int]:
        """Return the places of the images whose rows are in files."""
        return {
            index for file in self._read((INDEX,)) for index in file[INDEX].tolist()
        }

    def collect(self) -> dict[str, np.ndarray]:
        """Return all saved arrays with the rows sorted by ``index``, one of them."""
        files = self._read()
        if not files:
            return {}
        arrays = _join(files)
        # A row that two processes measured is the same in both.
        _, order = np.unique(arrays[INDEX], return_index=True)
        return {name: array[order] for name, array in arrays.items()}

    def _read(self, names: Sequence[str] | None = None) -> list[dict]:
        found = []
        for path in sorted(self.folder.glob('*.npz')):
            with np.load(path, allow_pickle=False) as content:
                found.append({name: content[name] for name in names or content.files})
        return found


def _join(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
