"""Measure how well regions correspond and the entropy of attention, over images.

    python tools/analysis_tools/measure_regions.py CHECKPOINT FOLDER
    # the control
    python tools/analysis_tools/measure_regions.py FOLDER --random --config CONFIG

The protocol is that of EsViT (§4.4): each image is matched with its mirror image in
grey, whose colours are jittered first in four of five images, and the ten most similar
pairs of regions of each image are judged.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmtlalign.compat.files import check_file
from mmtlalign.errors import InputError, short_errors
from tools.analysis_tools.options import (
    add_network_options,
    add_random_options,
    check_random,
    positive,
)
from tools.output import write_json

# Imports of PyTorch come after the command line is read.
if TYPE_CHECKING:
    import numpy as np


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('checkpoint', nargs='?', help='checkpoint of EsViT or of any classifier')
    add('folder', help='folder of images, at any depth')
    add('--pairs', type=positive, default=10, help='number of region pairs to evaluate')
    add('--batch', type=positive, default=16, help='images per batch')
    add(
        '--no-jitter',
        action='store_true',
        help='make the second view by mirroring and greyscale only',
    )
    add('--json', metavar='FILE', help='write the figures to FILE')
    add_random_options(parser, 'jitter and random weights')
    add_network_options(parser)
    args = parser.parse_args()
    check_random(parser, args)
    return args


def jittered(picture: 'np.ndarray') -> 'np.ndarray':
    """Jitter the colours of four of five images, as the official analysis does."""
    import numpy as np
    import torch
    from PIL import Image
    from torchvision.transforms import ColorJitter

    if torch.rand(()) >= 0.8:
        return picture
    jitter = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    return np.asarray(jitter(Image.fromarray(picture)))


def measure(args: argparse.Namespace) -> dict:
    """Return the results that are printed and written."""
    if not Path(args.folder).is_dir():
        raise InputError(f"'{args.folder}' is not a folder: name one with images.")
    for path in filter(None, (args.config, args.checkpoint)):
        check_file(path, 'file')
    import torch

    with torch.no_grad():
        return measure_images(args)


def measure_images(args: argparse.Namespace) -> dict:
    """Return the results over the images, computed without gradients."""
    import numpy as np
    import torch
    from mmengine.device import get_device

    from mmtlalign.evaluation.attention_maps import last_attention
    from mmtlalign.evaluation.pictures import spread_indices
    from mmtlalign.evaluation.regions import attention_entropy
    from tools.analysis_tools.networks import read_network
    from tools.analysis_tools.regions import (
        find_pairs,
        normalised,
        read_picture,
        second_view,
    )
    from tools.dataset_converters.label_maps.images import list_images

    model, description, size = read_network(args, args.checkpoint, args.seed)
    model.to(get_device())
    names = list_images(args.folder)
    names = [names[index] for index in spread_indices(len(names), args.limit)]
    torch.manual_seed(args.seed)
    found, bits = [], []
    for start in range(0, len(names), args.batch):
        part = names[start : start + args.batch]
        pictures = [read_picture(f'{args.folder}/{name}', size) for name in part]
        others = pictures if args.no_jitter else map(jittered, pictures)
        views = [*pictures, *map(second_view, others)]
        images, mirror_images = normalised(views, model.data_preprocessor).chunk(2)
        found += find_pairs(model.backbone, images, mirror_images, args.pairs)
        attention = last_attention(model.backbone, images)
        # Every image has the same number of windows.
        entropies = attention_entropy(attention.weights).unflatten(0, (len(part), -1))
        bits += entropies.mean(dim=(1, 2)).tolist()
    return dict(
        weights=description,
        images=len(names),
        pairs=len(found[-1].ends),
        regions=found[-1].regions,
        accuracy=mean([pairs.accuracy for pairs in found]),
        distance=mean([pairs.distance for pairs in found]),
        entropy=mean(bits),
        most_bits=float(np.log2(attention.weights.shape[-1])),
    )


def mean(values: list[float]) -> dict[str, float]:
    """Return the mean over images and its standard error, which is 0 for one image."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return dict(mean=statistics.fmean(values), error=error)


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with short_errors(args.config or args.checkpoint):
        found = measure(args)
    text = {
        name: '{mean:.3f} +- {error:.3f}'.format_map(found[name])
        for name in ('accuracy', 'distance', 'entropy')
    }
    print(
        f'{found["weights"]}: {found["images"]} images, {found["pairs"]} pairs of '
        f'{found["regions"]} regions each (mean +- standard error)\n'
        f'accuracy {text["accuracy"]}, distance {text["distance"]} px, entropy of the '
        f'last attention {text["entropy"]} of at most {found["most_bits"]:.2f} bits'
    )
    if args.json:
        write_json(args.json, found)


if __name__ == '__main__':
    main()
