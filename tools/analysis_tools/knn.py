"""Evaluate frozen features by weighted k-NN classification."""

import argparse
import sys
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmtlalign.compat.files import check_file
from mmtlalign.compat.own_configs import DictAction
from mmtlalign.errors import short_errors
from tools.output import write_json

# Copies of choices in mmtlalign.evaluation.frozen_features, which imports PyTorch and
# so is imported after the command line is read.
WEIGHT_CHOICES = ('auto', 'raw', 'ema', 'teacher', 'student', 'random')
FEATURE_CHOICES = ('view', 'blocks', 'pixels')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', help='config of the run: EsViT or any classifier')
    add('checkpoint', nargs='?', help='weights; without it the weights are random')
    add(
        '--weights',
        choices=WEIGHT_CHOICES,
        default='auto',
        help='weights to use: teacher or student of EsViT, raw or ema (averaged by '
        'EMAHook) of a classifier; auto: teacher, else ema, else raw',
    )
    add(
        '--features',
        choices=FEATURE_CHOICES,
        default='view',
        help='view: class token or mean of the map; blocks: the features of a linear '
        'probe; pixels: the normalised images, independent of the weights',
    )
    add('--ks', type=int, nargs='+', metavar='K', help='numbers of neighbours')
    add('--temperature', type=float, help='temperature of the votes')
    add(
        '--bank',
        metavar='DIR',
        help='labelled images: a folder with one folder per class',
    )
    add(
        '--queries',
        metavar='DIR',
        help='images to classify: a folder with one folder per class',
    )
    add('--seed', type=int, default=0, help='seed of random weights')
    add('--json', metavar='FILE', help='write settings and accuracies to FILE')
    add(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change settings, such as data_root=DIR',
    )
    args = parser.parse_args()
    if args.ks and min(args.ks) < 1:
        parser.error('--ks takes numbers from 1 on')
    if args.temperature is not None and not args.temperature > 0:
        parser.error('--temperature divides similarities; give a number above 0')
    return args


def measure(args: argparse.Namespace) -> dict:
    """Return the results that are printed and written."""
    from mmtlalign.engine.console import filter_known_warnings

    filter_known_warnings()
    from mmengine.device import get_device

    from mmtlalign.engine.runner import TaskRunner
    from mmtlalign.evaluation.frozen_features import frozen_features
    from mmtlalign.methods.knn import (
        KNNHook,
        check_neighbours,
        check_same_classes,
        find_knn_hook,
        knn_loaders,
    )
    from mmtlalign.validation.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    model, description = frozen_features(
        cfg, args.checkpoint, args.weights, args.features, args.seed
    )
    named = dict(ks=args.ks, temperature=args.temperature)
    of_config = {k: value for k, value in find_knn_hook(cfg).items() if k in named}
    chosen = of_config | {k: value for k, value in named.items() if value}
    hook = KNNHook(**knn_loaders(cfg, args.bank, args.queries), **chosen)
    for name, settings in hook.settings.items():
        hook.loaders[name] = TaskRunner.build_dataloader(settings, seed=args.seed)
    sizes = {name: len(loader.dataset) for name, loader in hook.loaders.items()}
    check_same_classes(*(loader.dataset for loader in hook.loaders.values()))
    check_neighbours(hook.ks, sizes['bank'])
    found = hook.accuracies(model.to(get_device()))
    return dict(
        config=args.config,
        checkpoint=args.checkpoint,
        weights=description,
        features=args.features,
        temperature=hook.temperature,
        **sizes,
        top1={k: found[f'knn/top1_k{k}'] for k in hook.ks},
        top5={k: found[f'knn/top5_k{k}'] for k in hook.ks},
    )


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with short_errors(args.config):
        check_file(args.config, 'config')
        if args.checkpoint:
            check_file(args.checkpoint, 'checkpoint')
        record = measure(args)
    print(
        f'{record["weights"]}\nk-NN of features={record["features"]}: '
        f'{record["queries"]} images by {record["bank"]}, temperature '
        f'{record["temperature"]:g}'
    )
    for k, top1 in record['top1'].items():
        print(f'k={k:<4} top-1 {top1:6.2f} %   top-5 {record["top5"][k]:6.2f} %')
    if args.json:
        write_json(args.json, record)


if __name__ == '__main__':
    main()
