"""Draw which regions of an image and its mirror image a checkpoint takes for one."""

import argparse
from pathlib import Path

import numpy as np
from mmengine.config import DictAction

from mmtlalign.engine.console import filter_known_warnings
from mmtlalign.errors import short_errors
from mmtlalign.evaluation.frozen_features import CHOICES, frozen_features
from mmtlalign.evaluation.last_attention import last_attention
from mmtlalign.evaluation.regions import attention_entropy
from tools.analysis_tools.region_figure import draw_attention, draw_pairs
from tools.analysis_tools.region_pairs import find_pairs
from tools.analysis_tools.region_views import (
    normalised,
    read_config,
    read_picture,
    second_view,
)


def parse_args():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('checkpoint', help='of EsViT, or of any classification')
    add('image', help='file of an image')
    add('--config', help='config of the run, if it is not in the checkpoint')
    add(
        '--weights',
        choices=CHOICES[:-1],
        default='auto',
        help='as of tools/analysis_tools/knn.py',
    )
    add('--size', type=int, help='pixels of a side; default: img_size of the backbone')
    add('--pairs', type=int, default=10, help='pairs of regions that are drawn')
    add('--mass', type=float, default=0.6, help='share of the attention that is drawn')
    add('--out', type=Path, default='.', help='folder for <image>_regions.png and …')
    add('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args()
    if args.pairs < 1 or not 0 < args.mass <= 1:
        parser.error('--pairs takes 1 or more, --mass a share above 0 to 1')
    return args


def draw(args) -> None:
    """Measure, draw, and print the numbers."""
    cfg = read_config(args.config, args.checkpoint, args.cfg_options)
    model, told = frozen_features(cfg, args.checkpoint, args.weights)
    size = args.size or cfg.model.backbone.get('img_size', 224)
    picture = read_picture(args.image, size)
    views = [picture, second_view(picture)]
    images = normalised(views, model.data_preprocessor)
    pairs = find_pairs(model.backbone, images, args.pairs)
    look = last_attention(model.backbone, images[:1])
    entropies = attention_entropy(look.weights).mean(dim=0).tolist()
    args.out.mkdir(parents=True, exist_ok=True)
    name = args.out / Path(args.image).stem
    draw_pairs(*views, pairs, f'{name}_regions.png')
    maps = look.maps()[0].numpy()
    draw_attention(picture, maps, entropies, f'{name}_attention.png', args.mass)
    print(told)
    print(
        f'{len(pairs.ends)} pairs of {maps.shape[1]}x{maps.shape[2]} regions: accuracy '
        f'{pairs.accuracy:.2f}, distance {pairs.distance:.1f} px'
    )
    bits = ' '.join(f'{value:.2f}' for value in entropies)
    keys = np.log2(look.weights.shape[-1])
    mean = np.mean(entropies)
    print(f'attention entropy {mean:.2f} of at most {keys:.2f} bits; heads: {bits}')
    print(f'{name}_regions.png, {name}_attention.png')


def main():
    """Draw."""
    args = parse_args()
    filter_known_warnings()
    with short_errors(args.config or args.checkpoint):
        draw(args)


if __name__ == '__main__':
    main()
