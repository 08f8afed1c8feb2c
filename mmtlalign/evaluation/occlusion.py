"""Dropping of patches and shuffling of cells of images, before normalisation.

Naseer et al., Intriguing Properties of Vision Transformers (NeurIPS 2021, §3). Dropped
patches become black, 0 in [0, 1]; the size of the image and the number of tokens do not
change.

Shapes: ``B`` images, ``H, W`` pixels, ``h, w`` a grid of patches or cells, numbered row
by row, ``N = h * w``. Masks are True where a patch is dropped.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmtlalign.errors import InputError

# Naseer et al., as (rows, columns).
OFFICIAL_SHUFFLES = ((2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (14, 14), (16, 16))


def patch_count(ratio: float, patches: int) -> int:
    """Return floor(ratio * patches), for the exact product.

    Raises:
        InputError: The ratio is not 0 to 1.
    """
    if not 0 <= ratio <= 1:
        raise InputError(
            f'ratio={ratio}: give the fraction of patches to drop, 0 to 1.'
        )
    # 0.29 * 100 is 28.999999999999996 in floating point.
    return int(ratio * patches + 1e-9)


def random_patches(
    random: Sequence[np.random.Generator], grid: tuple[int, int], ratio: float
) -> Tensor:
    """Choose random patches, separately for each image.

    With equal generators choices are nested: the patches of a ratio are among those of
    a larger one.

    Args:
        random: B generators, see :mod:`mmtlalign.evaluation.draws`.
        grid: Rows and columns of patches.
        ratio: Fraction of patches to drop, rounded down to whole patches.

    Returns:
        Mask of the patches to drop (B, h, w).
    """
    count = patch_count(ratio, grid[0] * grid[1])
    dropped = torch.zeros(len(random), grid[0] * grid[1], dtype=torch.bool)
    if count:
        drawn = [rng.permutation(dropped.shape[1])[:count] for rng in random]
        dropped.scatter_(1, torch.from_numpy(np.stack(drawn)), True)
    return dropped.unflatten(1, grid)


def ranked_patches(saliency: Tensor, ratio: float, salient: bool = True) -> Tensor:
    """Choose the most salient patches, or the least.

    Args:
        saliency: (B, h, w).
        ratio: Fraction of patches to drop, rounded down to whole patches.
        salient: Whether to drop the most salient ones, else the least salient. Among
            equals the first one in the grid is dropped.

    Returns:
        Mask of the patches to drop (B, h, w).
    """
    flat = check_saliency(saliency).flatten(1)
    order = flat.argsort(dim=1, descending=salient, stable=True)
    chosen = order[:, : patch_count(ratio, flat.shape[1])]
    dropped = torch.zeros_like(flat, dtype=torch.bool)
    return dropped.scatter_(1, chosen, True).view(saliency.shape)


def mass_patches(saliency: Tensor, mass: float, foreground: bool = True) -> Tensor:
    """Choose the smallest set of salient patches with a given share of the saliency.

    Patches are sorted by rising saliency, normalised to a sum of 1. The foreground is
    where the cumulative sum exceeds 1 - mass, including the patch that crosses it; a
    mass of 1 takes all patches that are not 0. Of equals the first one in the grid
    counts as more salient. This is the rule of Naseer et al. and of DINO's figures.

    Args:
        saliency: (B, h, w), not negative; its sum need not be 1.
        mass: Share of the saliency, 0 to 1, not of the patches.
        foreground: Whether to drop the foreground; else all other patches are dropped,
            so that ``mass`` of the saliency is kept.

    Returns:
        Mask of the patches to drop (B, h, w).

    Raises:
        InputError: The saliency is negative or 0 everywhere, or the mass is not 0 to 1.
    """
    if not 0 <= mass <= 1:
        raise InputError(f'mass={mass}: give the fraction of the saliency, 0 to 1.')
    check_saliency(saliency)
    if (saliency < 0).any() or (saliency.flatten(1).sum(1) == 0).any():
        raise InputError(
            'A saliency map has negative values or is 0 everywhere, so fractions of '
            'its mass are undefined: choose patches by rank instead (ranked_patches).'
        )
    # Reversed: the sort is stable, and the first of equals must come last.
    values, order = saliency.flatten(1).flip(1).sort(dim=1, stable=True)
    shares = values / values.sum(dim=1, keepdim=True)
    # Rounding may bring the sum above 1, and a mass of 0 would take a patch.
    chosen = shares.cumsum(1).clamp(max=1) > 1 - mass
    inside = torch.empty_like(chosen).scatter_(1, order, chosen).flip(1)
    return (inside if foreground else ~inside).view(saliency.shape)


def drop_patches(
    images: Tensor,
    dropped: Tensor,
    fill: float | Sequence[float] | Tensor = 0.0,
    offset: tuple[int, int] = (0, 0),
) -> Tensor:
    """Cover patches of images.

    Args:
        images: RGB (B, 3, H, W) in [0, 1], before normalisation.
        dropped: Mask of the patches to drop (B, h, w), or (1, h, w) for all images.
        fill: Value of covered pixels in [0, 1], one or three for R, G, B. 0 is black,
            the protocol of the papers; ``PixelModel.mean_colour`` is zero after
            normalisation, the protocol of OpenMixup.
        offset: Pixels that the mask is moved down and right, for the papers' variant
            in which patches do not coincide with the network's. Pixels that the moved
            mask does not reach are kept.

    Returns:
        (B, 3, H, W); images without dropped patches are bit-identical.

    Raises:
        InputError: The grid does not divide the image, or the number of masks is
            neither 1 nor B.
    """
    if dropped.ndim != 3 or len(dropped) not in (1, len(images)):
        raise InputError(
            f'{tuple(dropped.shape)} patches for {len(images)} images: give the mask '
            'of dropped patches, (B, h, w).'
        )
    height, width = images.shape[-2:]
    rows, columns = cell_size((height, width), tuple(dropped.shape[1:]))
    mask = dropped.to(images.device, torch.bool)
    mask = mask.repeat_interleave(rows, 1).repeat_interleave(columns, 2)
    if offset != (0, 0):
        down, right = offset
        moved = torch.zeros_like(mask)
        moved[:, down:, right:] = mask[:, : height - down, : width - right]
        mask = moved
    values = torch.as_tensor(fill, dtype=images.dtype, device=images.device)
    return torch.where(mask[:, None], values.reshape(-1, 1, 1), images)


def pixel_loss(dropped: Tensor) -> Tensor:
    """Return the fraction (B,) of the pixels that a mask (B, h, w) covers."""
    return dropped.flatten(1).double().mean(1)


def random_permutations(
    random: Sequence[np.random.Generator], grid: tuple[int, int]
) -> Tensor:
    """Draw a permutation of the cells (B, N) for each image, uniform over all."""
    drawn = [rng.permutation(grid[0] * grid[1]) for rng in random]
    return torch.from_numpy(np.stack(drawn))


def shuffle_cells(images: Tensor, permutation: Tensor, grid: tuple[int, int]) -> Tensor:
    """Permute the cells of images.

    Args:
        images: (B, C, H, W).
        permutation: (B, N): cell i of the result is cell ``permutation[i]`` of the
            image; (1, N) for the same order in all images.
        grid: Rows and columns of cells.

    Returns:
        (B, C, H, W).

    Raises:
        InputError: The grid does not divide the image, or does not have N cells.
    """
    height, width = images.shape[-2:]
    rows, columns = cell_size((height, width), grid)
    count = grid[0] * grid[1]
    given = tuple(permutation.shape)
    fits = given in ((1, count), (len(images), count))
    whole = torch.arange(count, device=permutation.device)
    if not fits or not (permutation.sort(1).values == whole).all():
        raise InputError(
            f'permutation {given} for {len(images)} images: give (B, N) that contains '
            f'each of {count} cells of the grid once.'
        )
    order = permutation.to(images.device).expand(len(images), -1)
    cells = images.unflatten(3, (grid[1], columns)).unflatten(2, (grid[0], rows))
    cells = cells.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # (B, N, C, rows, columns)
    batch = torch.arange(len(images), device=images.device)[:, None]
    cells = cells[batch, order].unflatten(1, grid).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(images.shape)


def cell_size(image: tuple[int, int], grid: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width in pixels of a cell of a grid.

    Raises:
        InputError: The grid does not divide the image.
    """
    if min(grid) < 1 or image[0] % grid[0] or image[1] % grid[1]:
        raise InputError(
            f'A grid of {grid[0]} x {grid[1]} does not divide an image of {image[0]} x '
            f'{image[1]} pixels (height x width): choose one that does.'
        )
    return image[0] // grid[0], image[1] // grid[1]


def check_saliency(saliency: Tensor) -> Tensor:
    """Check that saliency maps are (B, h, w) and finite.

    Raises:
        InputError: They are not.
    """
    if saliency.ndim != 3 or not saliency.isfinite().all():
        raise InputError(
            f'saliency {tuple(saliency.shape)}: give one finite map (h, w) per image.'
        )
    return saliency


def area_under_curve(loss: Sequence[float], accuracy: Sequence[float]) -> float:
    """Return the mean height of a curve, by the trapezoidal rule.

    Args:
        loss: Fractions of information removed, rising, such as 0 to 0.9.
        accuracy: Accuracy at each of them.

    Raises:
        InputError: The lists differ in length, there are fewer than two points, or the
            loss does not rise.
    """
    x, y = np.asarray(loss, np.float64), np.asarray(accuracy, np.float64)
    if x.shape != y.shape or len(x) < 2 or (np.diff(x) <= 0).any():
        raise InputError(
            f'{len(x)} losses and {len(y)} accuracies: a curve needs two or more '
            'points, an accuracy for each, with increasing loss of information.'
        )
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / (x[-1] - x[0]))
