"""Per-image results in files, so that an interrupted evaluation can continue."""

import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmtlalign.compat.files import atomic_write

SAVE_SECONDS = 30.0
INDEX = 'index'


class PartFiles:
    """Arrays with one row per image, in files that several processes may add to.

    Files are written atomically. Rows that a killed process had not saved have to be
    computed again, with the same results.

    Args:
        folder: Folder for the files of this evaluation only.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._batches: list[dict[str, np.ndarray]] = []
        self._saved_at = time.monotonic()

    def add(self, indices: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """Add rows, and save all unsaved rows every half minute.

        Args:
            indices: Indices of the images in their data set.
            arrays: Arrays (len(indices), ...) by name.
        """
        self._batches.append({INDEX: np.asarray(indices), **arrays})
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write all unsaved rows."""
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
        """Return the indices of the images whose rows are in files."""
        return {
            index for file in self._read((INDEX,)) for index in file[INDEX].tolist()
        }

    def collect(self) -> dict[str, np.ndarray]:
        """Return all saved arrays, including ``index``, with rows sorted by it."""
        files = self._read()
        if not files:
            return {}
        arrays = _join(files)
        # Rows that two processes computed are equal.
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
