"""An image and its grey mirror image, and which of their regions a backbone matches.

EsViT (arXiv 2106.09785), §4.4. Shapes: ``s`` pixels of a side, ``T`` regions of a view,
``P`` channels.
"""

import math
from dataclasses import dataclass

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmtlalign.checkpoint.config_text import read_config_text
from mmtlalign.checkpoint.io import read_checkpoint
from mmtlalign.errors import InputError
from mmtlalign.evaluation.regions import (
    flip_correspondence,
    match_images,
    mirrored,
    nearest_regions,
)
from mmtlalign.methods.esvit.crops import run_backbone, views_and_regions
from mmtlalign.validation.broken import why_unreadable
from mmtlalign.validation.config import load_config

# Shares of red, green and blue in grey (ITU-R BT.601).
GREY = (0.299, 0.587, 0.114)


def read_config(path: str | None, checkpoint: str, options: dict | None) -> Config:
    """Read the named config, or the one in the checkpoint, which is not executed.

    Args:
        path: A config file, or None.
        checkpoint: A local file.
        options: Dotted key -> value, of ``--cfg-options``.

    Raises:
        InputError: No config is named, and the checkpoint holds none.
    """
    if path:
        return load_config(path, options)
    advice = 'Name the checkpoint of a run.'
    content = read_checkpoint(checkpoint, 'CHECKPOINT', advice, 'meta')
    text = (content.get('meta') or {}).get('cfg')
    if not text:
        raise InputError(
            f'{checkpoint} contains no config: name it with --config FILE.'
        )
    cfg = Config(read_config_text(text, checkpoint))
    cfg.merge_from_dict(options or {})
    return cfg


def read_picture(path: str, size: int) -> np.ndarray:
    """Read an RGB image (size, size, 3): resize the short side to 8/7 size, then crop.

    Raises:
        InputError: The file is not an image.
    """
    fault = why_unreadable(path)
    if fault:
        raise InputError(f"image '{path}' cannot be read: {fault}; name another file.")
    picture = mmcv.imread(path, channel_order='rgb')
    if picture.shape[:2] == (size, size):
        return picture
    factor = size * 8 / 7 / min(picture.shape[:2])
    picture = mmcv.imrescale(picture, factor, interpolation='bicubic')
    top, left = (side - size + 1 >> 1 for side in picture.shape[:2])
    return picture[top : top + size, left : left + size]


def second_view(picture: np.ndarray) -> np.ndarray:
    """Return the grey mirror image (s, s, 3) of an RGB picture, both uint8."""
    grey = np.rint(picture[:, ::-1] @ np.array(GREY)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def normalised(pictures: list[np.ndarray], data_preprocessor: nn.Module) -> Tensor:
    """Preprocess RGB images (s, s, 3) into a model's input (n, 3, s, s)."""
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    # Preprocessors that swap channels expect BGR.
    swaps = [
        getattr(data_preprocessor, n, 0) for n in ('to_rgb', '_channel_conversion')
    ]
    images = images.flip(1) if any(swaps) else images
    return data_preprocessor(dict(inputs=images, data_samples=None))['inputs']


@dataclass(frozen=True)
class RegionPairs:
    """The most similar pairs of regions.

    Attributes:
        ends: (n, 2, 2), for each pair the centre (x, y) of the region in the image and
            in the mirror image, in pixels.
        right: (n,) bool, whether both show the same place.
        accuracy: Share of pairs that do.
        distance: Mean distance from the true place, in pixels.
        regions: T, the number of regions to choose from.
    """

    ends: np.ndarray
    right: np.ndarray
    accuracy: float
    distance: float
    regions: int


def pairs_of(regions: Tensor, flipped: Tensor, size: int, pairs: int) -> RegionPairs:
    """Return the most similar pairs of regions, each the best match of its first.

    Args:
        regions: Features of a square image (T, P), row by row.
        flipped: Features of its mirror image (T, P).
        size: Pixels of a side.
        pairs: How many.

    Raises:
        InputError: The regions are no square grid.
    """
    side = side_of(regions)
    cell = size / side
    similarity, partner = nearest_regions(regions, flipped)
    first = similarity.argsort(descending=True)[:pairs].cpu()
    second = partner.cpu()[first]
    ends = centres(torch.stack([first, second], dim=1), side, cell)
    judged = flip_correspondence(regions, flipped, side, cell, pairs)
    return RegionPairs(
        ends,
        (mirrored(side)[first] == second).numpy(),
        judged.accuracy,
        judged.distance,
        len(regions),
    )


def side_of(regions: Tensor) -> int:
    """Return the number of regions per row, for the regions (T, P) of a square image.

    Raises:
        InputError: They are no square grid.
    """
    side = math.isqrt(len(regions))
    if side == 0 or side**2 != len(regions):
        raise InputError(
            f'{len(regions)} regions do not form a square grid: regions are the map or '
            'the tokens of a square image. For a ViT set out_type=featmap '
            '(--cfg-options model.backbone.out_type=featmap).'
        )
    return side


def centres(places: Tensor, side: int, cell: float) -> np.ndarray:
    """Return the centres (..., 2), (x, y) in pixels, of regions by number (...)."""
    rows = torch.div(places, side, rounding_mode='floor')
    return (cell * (torch.stack([places % side, rows], dim=-1) + 0.5)).numpy()


@dataclass(frozen=True)
class ImageMatches:
    """The most similar pairs of regions of two different images.

    Attributes:
        ends: (n, 2, 2), for each pair the centre (x, y) of the region in the first and
            in the second image, in pixels.
        similarities: Cosines (n,), descending.
        regions: T, the number of regions to choose from.
    """

    ends: np.ndarray
    similarities: list[float]
    regions: int


@torch.no_grad()
def find_matches(
    backbone: nn.Module, images: Tensor, pairs: int = 10, mutual: bool = False
) -> ImageMatches:
    """Match the regions of an image to those of a different one.

    Args:
        backbone: Backbone whose regions are compared.
        images: Both, normalised (2, 3, s, s).
        pairs: How many to keep.
        mutual: Only pairs in which each is the other's nearest.
    """
    output = run_backbone(backbone, images)
    regions = views_and_regions(backbone, output)[1]
    matches = match_images(*regions)
    best = matches.best(pairs, mutual)
    side = side_of(regions[0])
    places = torch.stack([best, matches.nearest[best]], dim=1).cpu()
    return ImageMatches(
        centres(places, side, images.shape[-1] / side),
        matches.similarity[best].tolist(),
        len(regions[0]),
    )


@torch.no_grad()
def find_pairs(
    backbone: nn.Module, images: Tensor, mirror_images: Tensor, pairs: int = 10
) -> list[RegionPairs]:
    """Match the regions of images to those of their mirror images.

    Args:
        backbone: Backbone whose regions are compared.
        images: Normalised (n, 3, s, s).
        mirror_images: Likewise (n, 3, s, s).
        pairs: How many to keep of each image.

    Returns:
        The most similar pairs of each image.
    """
    output = run_backbone(backbone, torch.cat([images, mirror_images]))
    first, second = views_and_regions(backbone, output)[1].chunk(2)
    size = images.shape[-1]
    return [pairs_of(*both, size, pairs) for both in zip(first, second)]
