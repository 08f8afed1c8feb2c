"""Transforms that corrupt, cover or shuffle pixels reproducibly.

Place them after resize and crop, before the sample is packed. Random numbers depend
only on the seed and on the index of the sample in its data set, not on batch, worker or
process.
"""

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmtlalign.errors import InputError
from mmtlalign.evaluation.corruptions import (
    check_corruption,
    corrupt,
    corruption_seed,
)
from mmtlalign.evaluation.draws import generator
from mmtlalign.evaluation.occlusion import (
    drop_patches,
    patch_count,
    random_patches,
    random_permutations,
    shuffle_cells,
)
from mmtlalign.registry import TRANSFORMS


class PixelStep(BaseTransform):
    """Base class of transforms that change an image with per-image random numbers.

    Args:
        seed: Seed of the random numbers.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def change(self, image: np.ndarray, index: int) -> np.ndarray:
        """Return the changed image (H, W, 3) of the sample with this index."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Change ``results['img']``, (H, W, 3) uint8.

        Raises:
            InputError: The image has another type or shape, or the sample no index.
        """
        name, image = type(self).__name__, results.get('img', np.empty(0))
        if image.dtype != np.uint8 or image.shape[2:] != (3,):
            raise InputError(
                f'{name} got an image of shape {image.shape} in {image.dtype}, but '
                'needs (H, W, 3) in uint8; place it after the crop and before '
                'PackInputs'
            )
        if 'sample_idx' not in results:
            raise InputError(
                f'{name} needs sample_idx, the index of the sample, to seed its random '
                'draws; data sets of OpenMMLab set it'
            )
        changed = self.change(image, int(results['sample_idx']))
        results['img'] = np.ascontiguousarray(changed)
        return results


@TRANSFORMS.register_module()
class Corrupt(PixelStep):
    """Corrupt images on the fly, similar but not identical to ImageNet-C.

    It needs the package imagecorruptions-imaug, whose constants are for images of 224
    pixels. ``mmtlalign.CorruptionError`` reads the fields ``corruption`` and
    ``severity``, which ``PackInputs(meta_keys=('corruption', 'severity'))`` keeps.

    Args:
        name (str): One of the 15 corruptions of ImageNet-C, or of the four extra ones.
        severity (int): 1 to 5. Defaults to 3.
        seed (int): Seed of the random numbers. Defaults to 0.
        channel_order (str): ``'bgr'``, for images read from files, or ``'rgb'``, for
            those of CIFAR. Defaults to 'bgr'.

    Raises:
        InputError: Corruption, severity or channel order do not exist.
    """

    def __init__(
        self, name: str, severity: int = 3, seed: int = 0, channel_order: str = 'bgr'
    ):
        super().__init__(seed)
        check_corruption(name, severity)
        if channel_order not in ('bgr', 'rgb'):
            raise InputError(
                f"channel_order={channel_order!r} of Corrupt: choose 'bgr' or 'rgb'"
            )
        self.name, self.severity = name, severity
        self.channel_order = channel_order

    def change(self, image: np.ndarray, index: int) -> np.ndarray:
        """Return the corrupted image."""
        step = -1 if self.channel_order == 'bgr' else 1
        seed = corruption_seed(self.seed, self.name, self.severity, index)
        rgb = np.ascontiguousarray(image[..., ::step])
        return corrupt(rgb, self.name, self.severity, seed)[..., ::step]

    def transform(self, results: dict) -> dict:
        """Corrupt ``results['img']``, and add ``corruption`` and ``severity``."""
        results = super().transform(results)
        results.update(corruption=self.name, severity=self.severity)
        return results

    def __repr__(self) -> str:
        return f'Corrupt({self.name!r}, severity={self.severity}, seed={self.seed})'


@TRANSFORMS.register_module()
class PatchDrop(PixelStep):
    """Cover a fraction of an image's patches with black (Naseer et al., NeurIPS 2021).

    Args:
        ratio (float): Fraction of patches, 0 to 1, rounded down to whole patches.
        grid (int | Sequence[int]): Patches along a side, or rows and columns. Defaults
            to 14.
        seed (int): Seed of the random numbers. The patches of a ratio are among those
            of a larger one. Defaults to 0.

    Raises:
        InputError: The ratio is not 0 to 1, or the grid does not divide an image.
    """

    def __init__(self, ratio: float, grid: Any = 14, seed: int = 0):
        super().__init__(seed)
        patch_count(ratio, 1)
        self.ratio, self.grid = ratio, pair(grid)

    def change(self, image: np.ndarray, index: int) -> np.ndarray:
        """Return the image with black patches."""
        random = generator(self.seed, 'random drop', index)
        dropped = random_patches([random], self.grid, self.ratio)
        return to_image(drop_patches(to_batch(image), dropped))

    def __repr__(self) -> str:
        return f'PatchDrop({self.ratio}, grid={self.grid}, seed={self.seed})'


@TRANSFORMS.register_module()
class GridShuffle(PixelStep):
    """Shuffle the cells of an image (Naseer et al., NeurIPS 2021).

    Args:
        grid (int | Sequence[int]): Cells along a side, or rows and columns. Defaults
            to 4.
        seed (int): Seed of the random numbers. Defaults to 0.

    Raises:
        InputError: The grid does not divide an image.
    """

    def __init__(self, grid: Any = 4, seed: int = 0):
        super().__init__(seed)
        self.grid = pair(grid)

    def change(self, image: np.ndarray, index: int) -> np.ndarray:
        """Return the image with shuffled cells."""
        rows, columns = self.grid
        random = generator(self.seed, f'shuffle {rows}x{columns}', index)
        order = random_permutations([random], self.grid)
        return to_image(shuffle_cells(to_batch(image), order, self.grid))

    def __repr__(self) -> str:
        return f'GridShuffle({self.grid}, seed={self.seed})'


def pair(grid: Any) -> tuple[int, int]:
    """Return rows and columns of a grid, which may be given as one number.

    Raises:
        InputError: They are not integers of at least 1.
    """
    both = [grid, grid] if isinstance(grid, int) else list(grid)
    if len(both) != 2 or not all(isinstance(n, int) and n > 0 for n in both):
        raise InputError(
            f'grid={grid!r}: give the number of cells per side, or rows and columns'
        )
    return both[0], both[1]


def to_batch(image: np.ndarray) -> torch.Tensor:
    """Convert an image (H, W, 3) to a batch (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]


def to_image(batch: torch.Tensor) -> np.ndarray:
    """Convert a batch (1, 3, H, W) to an image (H, W, 3)."""
    return batch[0].permute(1, 2, 0).numpy()
