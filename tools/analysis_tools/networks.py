"""Networks and images that the tools of this folder read by the command line."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmtlalign.compat.files import check_file
from mmtlalign.engine.console import filter_known_warnings
from mmtlalign.errors import InputError
from mmtlalign.evaluation.cost import image_size
from mmtlalign.evaluation.frozen_features import FrozenFeatures, frozen_features
from mmtlalign.evaluation.pictures import spread_indices
from tools.analysis_tools.regions import normalised, read_config, read_picture
from tools.dataset_converters.label_maps.images import list_images


def read_network(
    args: argparse.Namespace, checkpoint: str | None, seed: int = 0
) -> tuple[FrozenFeatures, str, int]:
    """Return a network in eval mode, the kind of its weights, and its image size.

    Args:
        args: With the options of ``add_network_options``.
        checkpoint: A local file; None for random weights of ``args.config``.
        seed: Seed of random weights.

    Raises:
        InputError: The checkpoint has no config, or does not fit.
    """
    for path in filter(None, (args.config, checkpoint)):
        check_file(path, 'file')
    filter_known_warnings()
    # Otherwise every initialised weight gets a line in the log.
    MMLogger.get_current_instance().setLevel('WARNING')
    cfg = config_of(args, checkpoint)
    weights = args.weights if checkpoint else 'random'
    model, description = frozen_features(cfg, checkpoint, weights, seed=seed)
    return model, description, args.size or image_size(cfg) or 224


def config_of(args: argparse.Namespace, checkpoint: str | None) -> Config:
    """Return the config in a checkpoint, or ``args.config`` if it has none.

    Raises:
        InputError: There is neither.
    """
    if checkpoint:
        try:
            return read_config(None, checkpoint, args.cfg_options)
        except InputError:
            if not args.config:
                raise
    return read_config(args.config, checkpoint or '', args.cfg_options)


def read_images(
    place: str, size: int, data_preprocessor: nn.Module, limit: int | None = None
) -> tuple[list[str], Iterator[Tensor]]:
    """Return the files of an image or folder, and each as a network's input.

    Args:
        place: An image, or a folder of images at any depth.
        size: Side of the images in pixels.
        data_preprocessor: Data preprocessor of the network.
        limit: Most images of a folder, spread evenly over it. Defaults to None: all.

    Returns:
        Paths, and an iterator over images (1, 3, size, size).

    Raises:
        InputError: There is none, or it cannot be read.
    """
    if Path(place).is_dir():
        names = list_images(place)
        chosen = spread_indices(len(names), limit)
        files = [f'{place}/{names[index]}' for index in chosen]
    else:
        check_file(place, 'file')
        files = [place]
    pictures = (read_picture(file, size) for file in files)
    return files, (normalised([one], data_preprocessor) for one in pictures)
