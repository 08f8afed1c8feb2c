"""Random numbers per image, independent of batch, worker and process.

An image's draws depend only on the seed, the condition and the image's index in the
data set. Official code draws once per batch from the global generator, so that all
images of a batch share a draw and results change with the batch size.
"""

from collections.abc import Iterable, Sequence
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from mmtlalign.errors import InputError


def generator(seed: int, condition: int | str, index: int) -> np.random.Generator:
    """Return the generator of one image under one condition.

    Args:
        seed: Seed of the measurement, 0 or more.
        condition: Number of the condition, 0 or more, or a name such as
            ``'random drop 0.2'``, of which the CRC-32 is used.
        index: Index of the image in the data set.

    Raises:
        InputError: A number is negative.
    """
    return np.random.default_rng(_entropy(seed, condition, index))


def generators(
    seed: int, condition: int | str, indices: Iterable[int]
) -> list[np.random.Generator]:
    """Return the generators of the images of a batch, see :func:`generator`."""
    return [generator(seed, condition, int(index)) for index in indices]


def integer_seed(seed: int, condition: int | str, index: int) -> int:
    """Return a 32-bit seed for libraries that do not take a generator.

    Args:
        seed: Seed of the measurement, 0 or more.
        condition: Number or name of the condition.
        index: Index of the image in the data set.

    Raises:
        InputError: A number is negative.
    """
    sequence = np.random.SeedSequence(_entropy(seed, condition, index))
    return int(sequence.generate_state(1)[0])


def uniform_noise(
    random: Sequence[np.random.Generator], images: Tensor, bound: float
) -> Tensor:
    """Draw uniform noise in [-bound, bound] for each image.

    Args:
        random: B generators, one per image.
        images: (B, ...), with the shape, dtype and device of the noise.
        bound: Largest absolute value.

    Raises:
        InputError: The number of generators is not B.
    """
    if len(random) != len(images):
        raise InputError(
            f'{len(random)} generators for {len(images)} images: give one per image.'
        )
    drawn = [rng.uniform(-bound, bound, images.shape[1:]) for rng in random]
    return torch.from_numpy(np.stack(drawn)).to(images)


def _entropy(seed: int, condition: int | str, index: int) -> list[int]:
    if isinstance(condition, str):
        condition = crc32(condition.encode())
    entropy = [int(seed), int(condition), int(index)]
    if min(entropy) < 0:
        raise InputError(
            f'seed {seed}, condition {condition} and index {index} of a draw must be '
            '0 or more.'
        )
    return entropy
