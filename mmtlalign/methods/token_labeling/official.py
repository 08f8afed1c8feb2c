"""Label maps in the official layout of Token Labeling: one ``.pt`` file per image."""

import pickle
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch

from mmtlalign.errors import InputError
from mmtlalign.methods.token_labeling.geometry import LabelMap, index_dtype
from mmtlalign.methods.token_labeling.metadata import TOOL
from mmtlalign.methods.token_labeling.store import (
    METADATA,
    LabelMapStore,
    MissingMapError,
)

# Number of files that are looked up before training.
LOOKED_UP = 1000


def open_label_maps(
    root: str | Path, num_classes: int, class_names: Sequence[str] | None = None
) -> 'LabelMapStore | OfficialLabelMaps':
    """Open a store of this package, or a folder of official ``.pt`` files.

    Args:
        root: Its folder.
        num_classes: Classes of the annotator.
        class_names: Their names, compared with those of a store; ``.pt`` files have
            none. Defaults to None: not compared.

    Returns:
        Maps by the relative path of their image.

    Raises:
        InputError: There is neither, or the classes differ.
    """
    if (Path(root).expanduser() / METADATA).exists():
        return LabelMapStore(root, num_classes, class_names)
    if class_names is not None:
        raise InputError(
            f'{root} is not a label map store of this package, and .pt files do not '
            'record their classes: leave class_names out.'
        )
    return OfficialLabelMaps(root, num_classes)


class OfficialLabelMaps:
    """Maps in ``<root>/<class folder>/<image stem>.pt``, float16 (2, k, h, w).

    Plane 0 has the logits, plane 1 the classes (Token Labeling, arXiv 2104.10858,
    official code). The stem ends at the first dot of the image's relative path.

    Args:
        root: Folder of the maps.
        num_classes: Classes of the annotator, which the files do not contain. At most
            2048, as float16 is exact only for integers up to there.

    Raises:
        InputError: The folder does not exist, or there are more classes.
    """

    def __init__(self, root: str | Path, num_classes: int):
        self.root, self.num_classes = Path(root).expanduser(), num_classes
        if not self.root.is_dir():
            raise InputError(
                f'{self.root} is not a folder: give the folder of the .pt files'
            )
        if not 0 < num_classes <= 2048:
            raise InputError(
                f'num_classes={num_classes}: .pt files keep classes as float16, exact '
                f'for 1 to 2048. Make a store with {TOOL} instead.'
            )

    def file(self, name: str) -> Path:
        """Return the path of the map of an image."""
        return self.root / f'{stem(name)}.pt'

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Shape (k, h, w) of the first map that is found."""
        first = next(self.root.glob('*/*.pt'), None)
        if first is None:
            raise InputError(f'{self.root} has no .pt file in any class folder')
        return tuple(self._read(first).shape[1:])

    def __contains__(self, name: str) -> bool:
        """Return whether an image has a map."""
        return self.file(name).exists()

    def missing_maps(self, names: Sequence[str]) -> tuple[list[str], int]:
        """List the images without a map among a thousand, spread over all.

        Looking up a million files would take minutes on a network drive.

        Args:
            names: Relative paths.

        Returns:
            Images without a map, and the number of images looked up.

        Raises:
            InputError: Two images have the same file.
        """
        owners: dict[str, str] = {}
        for name in names:
            other = owners.setdefault(stem(name), name)
            if other != name:
                raise InputError(
                    f'{other!r} and {name!r} have the same label map, '
                    f'{self.file(name)}, because its name ends at the first dot of the '
                    f'path. Rename them, or make a store with {TOOL}'
                )
        step = -(-len(names) // LOOKED_UP) or 1
        return [name for name in names[::step] if name not in self], len(names[::step])

    def __getitem__(self, name: str) -> LabelMap:
        """Return the map of an image.

        Raises:
            MissingMapError: It has none.
            InputError: The file is damaged, not a map, or has more classes.
        """
        file = self.file(name)
        if not file.exists():
            raise MissingMapError(
                f'{file}, the label map of {name!r}, does not exist: make it, or '
                "choose missing='skip' or missing='hard label'."
            )
        planes = self._read(file)
        indices = planes[1].long()
        low, high = int(indices.min()), int(indices.max())
        if not 0 <= low <= high < self.num_classes:
            raise InputError(
                f'{file} has classes {low} to {high}, but the annotator has '
                f'{self.num_classes}: correct num_classes.'
            )
        dtype = index_dtype(self.num_classes)
        return LabelMap(planes[0].numpy(), indices.numpy().astype(dtype))

    @staticmethod
    def _read(file: Path) -> torch.Tensor:
        try:
            planes = torch.load(file, map_location='cpu', weights_only=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise InputError(f'{file} is corrupt ({error}): copy it again') from error
        if (
            not isinstance(planes, torch.Tensor)
            or planes.ndim != 4
            or len(planes) != 2
            or planes.dtype != torch.float16
        ):
            shape = getattr(planes, 'shape', type(planes).__name__)
            raise InputError(
                f'{file} holds {shape}, not a label map: float16 (2, k, h, w) with '
                'logits and classes; make it again or copy it.'
            )
        return planes


def stem(name: str) -> str:
    """Return an image's relative path up to the first dot, as the official code."""
    return name.partition('.')[0]
