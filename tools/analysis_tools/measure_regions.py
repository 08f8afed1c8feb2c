"""How well regions correspond and how wide attention looks, the mean over images.

    python tools/analysis_tools/measure_regions.py CHECKPOINT FOLDER
    python tools/analysis_tools/measure_regions.py FOLDER --random --config CONFIG     the control

As EsViT (§4.4) measures it: every image against its mirror image in grey, whose colours
are jittered first in four of five images; of each image the ten pairs of regions that
are most alike are judged.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import torch
from mmengine.config import DictAction
from mmengine.device import get_device
from PIL import Image
from torchvision.transforms import ColorJitter

from mmtlalign.engine.console import filter_known_warnings
from mmtlalign.errors import InputError, short_errors
from mmtlalign.evaluation.frozen_features import CHOICES, frozen_features
from mmtlalign.evaluation.last_attention import last_attention
from mmtlalign.evaluation.regions import attention_entropy
from mmtlalign.methods.esvit.crops import run_backbone, views_and_regions
from tools.analysis_tools.region_pairs import pairs_of
from tools.analysis_tools.region_views import (
    normalised,
    read_config,
    read_picture,
    second_view,
)
from tools.dataset_converters.label_maps.images import list_images


def parse_args():
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('checkpoint', nargs='?', help='of EsViT, or of any classification')
    add('folder', help='of images, at any depth')
    add('--random', action='store_true', help='random weights of --config instead')
    add('--config', help='config of the run, if it is not in the checkpoint')
    add(
        '--weights',
        choices=CHOICES[:-1],
        default='auto',
        help='as of tools/analysis_tools/knn.py',
    )
    add('--size', type=int, help='pixels of a side; default: img_size of the backbone')
    add('--pairs', type=int, default=10, help='pairs of regions that are judged')
    add('--limit', type=int, help='only so many images, spread over the folder')
    add('--batch', type=int, default=16, help='images at a time')
    add('--seed', type=int, default=0, help='of jitter and random weights')
    add('--no-jitter', action='store_true', help='mirror image in grey, no more')
    add('--json', metavar='FILE', help='write the figures')
    add('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args()
    if min(args.pairs, args.batch, args.limit or 1) < 1:
        parser.error('--pairs, --batch and --limit take 1 or more')
    if args.random == bool(args.checkpoint) or (args.random and not args.config):
        parser.error('name a CHECKPOINT, or --random with --config FILE')
    return args


def jittered(picture: np.ndarray) -> np.ndarray:
    """Other colours in four of five images, as the official analysis draws them."""
    if torch.rand(()) >= 0.8:
        return picture
    jitter = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    return np.asarray(jitter(Image.fromarray(picture)))


@torch.no_grad()
def measure(args) -> dict:
    """Everything that is printed and written."""
    if not Path(args.folder).is_dir():
        raise InputError(f"'{args.folder}' is no folder: name one with images.")
    cfg = read_config(args.config, args.checkpoint, args.cfg_options)
    model, told = frozen_features(cfg, args.checkpoint, args.weights, seed=args.seed)
    model.to(get_device())
    size = args.size or cfg.model.backbone.get('img_size', 224)
    names = list_images(args.folder)
    names = names[:: max(1, len(names) // (args.limit or len(names)))][: args.limit]
    torch.manual_seed(args.seed)
    found, bits = [], []
    for start in range(0, len(names), args.batch):
        part = names[start : start + args.batch]
        pictures = [read_picture(f'{args.folder}/{name}', size) for name in part]
        others = pictures if args.no_jitter else map(jittered, pictures)
        views = [*pictures, *map(second_view, others)]
        images = normalised(views, model.data_preprocessor)
        output = run_backbone(model.backbone, images)
        regions = views_and_regions(model.backbone, output)[1]
        found += [
            pairs_of(one, other, size, args.pairs)
            for one, other in zip(regions[: len(part)], regions[len(part) :])
        ]
        look = last_attention(model.backbone, images[: len(part)])
        # The same number of windows for every image.
        of_image = attention_entropy(look.weights).unflatten(0, (len(part), -1))
        bits += of_image.mean(dim=(1, 2)).tolist()
    keys = look.weights.shape[-1]
    return dict(
        weights=told,
        images=len(names),
        pairs=min(args.pairs, regions.shape[1]),
        regions=regions.shape[1],
        accuracy=mean([pairs.accuracy for pairs in found]),
        distance=mean([pairs.distance for pairs in found]),
        entropy=mean(bits),
        most_bits=float(np.log2(keys)),
    )


def mean(values: list[float]) -> dict[str, float]:
    """Mean over images and its standard error, 0 of a single one."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return dict(mean=statistics.fmean(values), error=error)


def main():
    """Measure and print."""
    args = parse_args()
    filter_known_warnings()
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
        Path(args.json).write_text(json.dumps(found, indent=1), encoding='utf-8')


if __name__ == '__main__':
    main()
