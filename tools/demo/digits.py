"""Images of the quickstart: real handwritten digits on textured canvases.

scikit-learn has 1,797 handwritten digits (8x8 pixels, UCI "Optical Recognition of
Handwritten Digits", Alpaydin & Kaynak 1998). Each is used as it is; the paper under it
and the colour of its ink are drawn at random. Everything is a pure function of a seed,
so two machines with the same library versions write the same bytes.

Shapes: ``n`` digits, ``H`` and ``W`` pixels.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

# A pixel counts as ink from half coverage on. Paler rims are neither ink nor paper:
# ADE20K has its label 0 for such pixels, see `Canvas.unlabelled`.
INK, RIM = 0.5, 0.2


@dataclass(frozen=True)
class Digits:
    """One split of the digits.

    Attributes:
        strokes: Ink of every digit (n, 8, 8), float32 in [0, 1].
        labels: Digits 0 to 9 (n,), int64.
        ids: Row of each digit in scikit-learn's table (n,).
    """

    strokes: np.ndarray
    labels: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Canvas:
    """Painted image and its annotation.

    Attributes:
        image: RGB image (H, W, 3), uint8.
        masks: Ink of each digit (n, H, W), bool, disjoint.
        unlabelled: Half-inked rims (H, W), bool, no digit's ink.
        labels: Digits 0 to 9 (n,), int64.
        ids: Rows in scikit-learn's table (n,).
    """

    image: np.ndarray
    masks: np.ndarray
    unlabelled: np.ndarray
    labels: np.ndarray
    ids: np.ndarray


def load_digits(split: str, val_every: int = 5) -> Digits:
    """Load one split of scikit-learn's digits.

    Within each class every fifth digit, in scikit-learn's order, is for validation.

    Args:
        split: ``'train'`` (1,442 digits) or ``'val'`` (355 digits).
        val_every: One of this many digits is for validation.

    Returns:
        The split, in scikit-learn's order.

    Raises:
        ValueError: The split has another name.
    """
    from sklearn.datasets import load_digits as load

    if split not in ('train', 'val'):
        raise ValueError(f"split is {split!r}: choose 'train' or 'val'")
    table = load()
    rank = np.zeros(len(table.target), dtype=int)
    for digit in range(10):
        rows = table.target == digit
        rank[rows] = np.arange(rows.sum())
    keep = (rank % val_every == val_every - 1) == (split == 'val')
    strokes = (table.images[keep] / 16).astype(np.float32)
    return Digits(strokes, table.target[keep].astype(np.int64), np.flatnonzero(keep))


def paint_digit(
    digits: Digits,
    index: int,
    size: int,
    rng: np.random.Generator,
    sides: tuple[float, float] = (0.55, 0.7),
) -> np.ndarray:
    """Paint one digit, alone and at a random place, on its own paper.

    Args:
        digits: Split to take it from.
        index: Its position in the split.
        size: Side of the image in pixels.
        rng: Generator for paper, ink, size and place.
        sides: Smallest and largest digit, as a share of the image.

    Returns:
        Image (size, size, 3), uint8.
    """
    paper = _paper(size, rng)
    side = round(size * rng.uniform(*sides))
    top, left = rng.integers(0, size - side + 1, 2)
    cover = np.zeros((size, size), np.float32)
    cover[top : top + side, left : left + side] = _stroke(digits, index, side)
    return _to_uint8(_blend(paper, cover, _ink_colour(rng)))


def place_digit(
    digits: Digits, index: int, size: int, side: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw one digit, white on black, at a random place of an image.

    Args:
        digits: Split to take it from.
        index: Its position in the split.
        size: Side of the image in pixels.
        side: Side of the digit in pixels, the same for all.
        rng: Generator for the place.

    Returns:
        Image (size, size, 3), uint8.
    """
    top, left = rng.integers(0, size - side + 1, 2)
    image = np.zeros((size, size, 3), np.float32)
    ink = 255 * _stroke(digits, index, side)
    image[top : top + side, left : left + side] = ink[..., None]
    return _to_uint8(image)


def paint_canvas(
    digits: Digits,
    size: int,
    rng: np.random.Generator,
    count: tuple[int, int] = (3, 5),
    sides: tuple[float, float] = (0.26, 0.36),
) -> Canvas:
    """Paint several digits of different sizes on one canvas, not touching.

    Args:
        digits: Split to draw from.
        size: Side of the canvas in pixels.
        rng: Generator for every choice.
        count: Fewest and most digits to try to place.
        sides: Smallest and largest digit, as a share of the canvas.

    Returns:
        Canvas with at least one digit on it.
    """
    image = _paper(size, rng)
    covers, picks, taken = [], [], np.zeros((size, size), bool)
    for _ in range(rng.integers(count[0], count[1] + 1)):
        pick = int(rng.integers(len(digits.labels)))
        side = round(size * rng.uniform(*sides))
        free = _free_corner(taken, side, rng)
        if free is None:
            continue
        box = np.s_[free[0] : free[0] + side, free[1] : free[1] + side]
        cover = np.zeros((size, size), np.float32)
        cover[box] = _stroke(digits, pick, side)
        image = _blend(image, cover, _ink_colour(rng))
        taken[box] = True
        covers.append(cover)
        picks.append(pick)
    covers = np.stack(covers)
    rims = ((covers > RIM) & (covers <= INK)).any(axis=0)
    return Canvas(
        image=_to_uint8(image),
        masks=covers > INK,
        unlabelled=rims,
        labels=digits.labels[picks],
        ids=digits.ids[picks],
    )


def _stroke(digits, index, side):
    """Enlarge a digit smoothly to (side, side), float32 in [0, 1]."""
    # Ink reaches the border of the 8x8 images: with one empty pixel around it, the
    # enlarged stroke is not cut off.
    small = Image.fromarray(np.pad(np.uint8(digits.strokes[index] * 255), 1))
    return np.asarray(small.resize((side, side), Image.BICUBIC), np.float32) / 255


def _free_corner(taken, side, rng, tries=200):
    """Find the corner of a free square, or None when the canvas looks full."""
    for _ in range(tries):
        top, left = rng.integers(0, taken.shape[0] - side + 1, 2)
        if not taken[top : top + side, left : left + side].any():
            return int(top), int(left)
    return None


def _paper(size, rng):
    """Paint a texture: cloudy noise and stripes between two near colours."""
    pattern = np.zeros((size, size), np.float32)
    for cells in (3, 6, 12):
        noise = Image.fromarray(rng.random((cells, cells)).astype(np.float32))
        pattern += np.asarray(noise.resize((size, size), Image.BICUBIC)) / cells
    angle, waves = rng.uniform(0, np.pi), rng.uniform(2, 9)
    y, x = np.mgrid[:size, :size] / size
    phase = 2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle))
    pattern += rng.uniform(0, 0.25) * np.sin(phase)
    pattern = (pattern - pattern.min()) / np.ptp(pattern)
    first = rng.uniform(10, 110, 3)
    second = np.clip(first + rng.uniform(-50, 50, 3), 0, 130)
    return first + (second - first) * pattern[..., None]


def _ink_colour(rng):
    return rng.uniform(185, 255, 3)


def _blend(image, cover, colour):
    return image + (colour - image) * cover[..., None]


def _to_uint8(image):
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)
