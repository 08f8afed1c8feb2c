"""Corruptions of ImageNet-C on the fly, and the errors on the published files.

Hendrycks and Dietterich, Benchmarking Neural Network Robustness (ICLR 2019). Errors
are fractions.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import NamedTuple

import numpy as np

from mmtlalign.errors import InputError, UnsupportedError
from mmtlalign.evaluation.draws import integer_seed

# Mean top-1 error of AlexNet over the five severities, from AugMix's code.
ALEXNET_ERRORS = dict(
    gaussian_noise=0.886428,
    shot_noise=0.894468,
    impulse_noise=0.922640,
    defocus_blur=0.819880,
    glass_blur=0.826268,
    motion_blur=0.785948,
    zoom_blur=0.798360,
    snow=0.866816,
    frost=0.826572,
    fog=0.819324,
    brightness=0.564592,
    contrast=0.853204,
    elastic_transform=0.646056,
    pixelate=0.717840,
    jpeg_compression=0.606500,
)
CORRUPTIONS = tuple(ALEXNET_ERRORS)
EXTRA_CORRUPTIONS = ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST = 32
# These draw from other generators than NumPy's global one, and take a seed instead.
_TAKE_SEED = ('glass_blur', 'impulse_noise')


class CorruptionErrors(NamedTuple):
    """Errors on ImageNet-C in percent, except for ``mean_error``, a fraction."""

    by_corruption: dict[str, float]  # CE of each, normalised by AlexNet
    mce: float  # their mean
    mean_error: float  # over all cells, not normalised
    relative_mce: float | None  # where AlexNet's clean error was given


def corrupt(image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """Corrupt an image, with the same result for the same seed.

    The package ``imagecorruptions`` differs from the published files (constants of
    motion blur and elastic transform, choice of frost, no JPEG step), so never divide
    its errors by AlexNet's. Its constants are those for 224 pixels: on small images
    the corruptions are much stronger than those of CIFAR-10-C. NumPy's global state is
    restored.

    Args:
        image: RGB (H, W, 3), uint8, 32 pixels or more, after resize and crop. OpenMMLab
            pipelines carry BGR: convert before and after.
        name: One of :data:`CORRUPTIONS` or :data:`EXTRA_CORRUPTIONS`.
        severity: 1 to 5.
        seed: 32 bits, see :func:`corruption_seed`.

    Returns:
        An image of the same shape, uint8.

    Raises:
        InputError: Name, severity or image are invalid.
        UnsupportedError: The package is not installed.
    """
    check_corruption(name, severity)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            f'image {image.shape} in {image.dtype}: corruptions take RGB (H, W, 3), '
            'uint8, before normalisation.'
        )
    if min(image.shape[:2]) < SMALLEST:
        raise InputError(
            f'An image of {image.shape[1]} x {image.shape[0]} pixels: corruptions need '
            f'{SMALLEST} x {SMALLEST} or more.'
        )
    options = dict(seed=seed) if name in _TAKE_SEED else {}
    library = _library()
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        return library.corrupt(image, severity, name, **options)
    finally:
        np.random.set_state(state)


def corruption_seed(seed: int, name: str, severity: int, index: int) -> int:
    """Return the seed of :func:`corrupt` for the image with this index."""
    return integer_seed(seed, f'{name}/{severity}', index)


def check_corruption(name: str, severity: int) -> None:
    """Check name and severity of a corruption.

    Raises:
        InputError: The name or the severity does not exist.
    """
    if name not in CORRUPTIONS + EXTRA_CORRUPTIONS:
        raise InputError(
            f'There is no corruption {name!r}: choose from '
            f'{", ".join(CORRUPTIONS + EXTRA_CORRUPTIONS)}.'
        )
    if severity not in SEVERITIES:
        raise InputError(f'severity={severity}: severities are 1 to 5.')


def corruption_errors(
    errors: Mapping[str, Sequence[float]],
    clean_error: float | None = None,
    alexnet_clean_error: float | None = None,
) -> CorruptionErrors:
    """Return the mean corruption error of the published files of ImageNet-C.

    CE of a corruption is the sum of its errors over severities, divided by AlexNet's,
    in percent; mCE is the mean over the 15. Relative mCE subtracts the clean error from
    both, which requires AlexNet's. It is not published with the other errors
    (torchvision's AlexNet has 0.43478).

    Args:
        errors: Top-1 errors as fractions, five severities for each of
            :data:`CORRUPTIONS`; other names are ignored.
        clean_error: Error on clean images.
        alexnet_clean_error: AlexNet's error on clean images.

    Raises:
        InputError: Errors are missing, or are not fractions.
    """
    missing = [c for c in CORRUPTIONS if len(errors.get(c, ())) != len(SEVERITIES)]
    if missing:
        raise InputError(
            f'mCE needs five severities of all 15 corruptions; {", ".join(missing)} '
            'have fewer.'
        )
    cells = np.array([errors[name] for name in CORRUPTIONS], np.float64)
    if not (cells.min() >= 0 and cells.max() <= 1):
        raise InputError(
            f'Errors are in [{cells.min():.4g}, {cells.max():.4g}]: give fractions, 0 '
            'to 1.'
        )
    means = cells.mean(1)
    alexnet = np.array(list(ALEXNET_ERRORS.values()))
    ce = 100 * means / alexnet
    relative = None
    if clean_error is not None and alexnet_clean_error is not None:
        ratio = (means - clean_error) / (alexnet - alexnet_clean_error)
        relative = float(100 * ratio.mean())
    by_corruption = dict(zip(CORRUPTIONS, ce.tolist()))
    return CorruptionErrors(
        by_corruption, float(ce.mean()), float(cells.mean()), relative
    )


@cache
def _library() -> ModuleType:
    """Import the package only on use, as it imports Numba and scikit-image."""
    try:
        import imagecorruptions
    except ImportError as error:
        raise UnsupportedError(
            f'Corruptions on the fly need the package imagecorruptions ({error}): pip '
            'install imagecorruptions-imaug'
        ) from error
    return imagecorruptions
