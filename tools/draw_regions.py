"""Draw which regions of an image and its mirror image a checkpoint takes for one."""

import argparse
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config, DictAction

from mmtlalign.analysis.region_figure import draw_attention, draw_pairs
from mmtlalign.analysis.region_pairs import find_pairs, second_view
from mmtlalign.engine.checkpoint_file import read_checkpoint
from mmtlalign.engine.config_check import load_config
from mmtlalign.engine.config_text import read_config_text
from mmtlalign.engine.console import filter_known_warnings
from mmtlalign.engine.errors import InputError, short_errors
from mmtlalign.engine.frozen_backbone import CHOICES, frozen_features
from mmtlalign.engine.samples import why_unreadable
from mmtlalign.selfsup.region_metrics import attention_entropy
from mmtlalign.tracing.last_attention import last_attention


def parse_args():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('checkpoint', help='of EsViT, or of any classification')
    add('image', help='file of an image')
    add('--config', help='config of the run, if it is not in the checkpoint')
    add('--weights', choices=CHOICES[:-1], default='auto', help='as of tools/knn.py')
    add('--size', type=int, help='pixels of a side; default: img_size of the backbone')
    add('--pairs', type=int, default=10, help='pairs of regions that are drawn')
    add('--mass', type=float, default=0.6, help='share of the attention that is drawn')
    add('--out', type=Path, default='.', help='folder for <image>_regions.png and …')
    add('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args()
    if args.pairs < 1 or not 0 < args.mass <= 1:
        parser.error('--pairs takes 1 or more, --mass a share above 0 to 1')
    return args


def read_config(args) -> Config:
    """The config named, or the one in the checkpoint, which is only read."""
    if args.config:
        return load_config(args.config, args.cfg_options)
    advice = 'Name the checkpoint of a run.'
    content = read_checkpoint(args.checkpoint, 'CHECKPOINT', advice, 'meta')
    text = (content.get('meta') or {}).get('cfg')
    if not text:
        raise InputError(f'{args.checkpoint} holds no config: name it, --config FILE.')
    cfg = Config(read_config_text(text, args.checkpoint))
    cfg.merge_from_dict(args.cfg_options or {})
    return cfg


def read_picture(path: str, size: int) -> np.ndarray:
    """An RGB image (size, size, 3): shorter side to 8/7 of that, then its centre."""
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


def normalised(pictures: list, data_preprocessor) -> torch.Tensor:
    """RGB images (s, s, 3) as the model sees them (n, 3, s, s)."""
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    # Those that turn channels round expect BGR.
    turns = [
        getattr(data_preprocessor, n, 0) for n in ('to_rgb', '_channel_conversion')
    ]
    images = images.flip(1) if any(turns) else images
    return data_preprocessor(dict(inputs=images, data_samples=None))['inputs']


def draw(args) -> None:
    """Measure, draw, and print the numbers."""
    cfg = read_config(args)
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
