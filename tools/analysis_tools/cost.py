r"""Count parameters and multiply-accumulates of classifiers, and time them.

    python tools/analysis_tools/cost.py configs/dhvt/*_in1k.py
    python tools/analysis_tools/cost.py configs/tlalign/tlalign_deit-small-*_in1k.py \
        --throughput --control configs/cutmix/cutmix_deit-small-*_8xb128-*_in1k.py

GMAC are 10^9 multiply-accumulates of one image, which papers call GFLOPs: matrix
products and convolutions, including attention's two products and the head. Nothing
is computed, so any size takes a second.

With --throughput the networks take turns at inference and at training (the config's
losses, mixing and optimizer, random images in memory). The ratio to the control, by
default the first config, is taken within a round. Compare ratios: images per second
depend on this machine.
"""

import argparse
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmtlalign.compat.files import check_file
from mmtlalign.compat.own_configs import DictAction
from mmtlalign.errors import InputError, UnsupportedError, short_errors, some_of
from tools.analysis_tools.published_costs import NOTES, notes, published
from tools.output import format_table, write_json

# Imports of PyTorch come after the command line is read.
if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.optim import OptimWrapper
    from torch import nn

    from mmtlalign.evaluation.throughput import Throughput

PHASES = ('inference', 'training')


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('configs', nargs='+', metavar='CONFIG', help='configs of classifiers')
    add('--size', type=int, help="side of the image in pixels; default: the config's")
    add(
        '--throughput',
        action='store_true',
        help='also measure the speed of inference and training',
    )
    add(
        '--control',
        metavar='CONFIG',
        help='config that ratios refer to (default: the first)',
    )
    add('--batch-size', type=int, default=8, help='images per step (default: 8)')
    add('--amp', action='store_true', help='use autocast to bfloat16')
    add('--device', choices=['cpu', 'cuda'], help='default: the GPU if there is one')
    add('--threads', type=int, help="CPU threads; default: PyTorch's")
    add('--warm-up', type=int, default=10, help='steps before the timing (default: 10)')
    add('--repeats', type=int, default=20, help='timed steps (default: 20)')
    add(
        '--clock',
        default='wall',
        choices=['wall', 'work'],
        help='wall: elapsed time; work: CPU time of this process, for a busy CPU '
        '(default: wall)',
    )
    add('--json', metavar='FILE', help='write all figures to FILE, times in seconds')
    add('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    options = parser.parse_args(arguments)
    for name in ('size', 'batch_size', 'threads', 'repeats'):
        if (getattr(options, name) or 1) < 1 or getattr(options, name) == 0:
            parser.error(f'--{name.replace("_", "-")} takes 1 or more')
    if options.warm_up < 0:
        parser.error('--warm-up takes 0 or more')
    if options.control and not options.throughput:
        parser.error('--control is used with --throughput only')
    return options


# ----------------------------------------------------------------- the classifiers


def build(cfg: 'Config', path: str) -> 'nn.Module':
    """Build the classifier of a config; no weights are read.

    Raises:
        UnsupportedError: The model is no classifier of mmpretrain.
    """
    from mmengine.registry import MODELS, init_default_scope
    from mmpretrain.models import BaseClassifier

    from mmtlalign.engine.console import import_host

    scope = cfg.get('default_scope', 'mmpretrain')
    advice = 'Name the config of a classifier, such as that of its pretraining.'
    kind = cfg.get('model', {}).get('type')
    if scope != 'mmpretrain' or kind is None:
        raise UnsupportedError(
            f'{path}: {kind} of {scope} is not a classifier, and costs are counted for '
            f'classifiers only. {advice}'
        )
    import_host(scope)
    init_default_scope(scope)
    settings = cfg.model.to_dict()
    if cfg.get('data_preprocessor'):
        settings.setdefault('data_preprocessor', cfg.data_preprocessor.to_dict())
    backbone = settings.get('backbone', {})
    if str(backbone.get('type')).endswith('TIMMBackbone'):
        backbone['pretrained'] = False  # nothing is downloaded
    model = MODELS.build(settings)
    if not isinstance(model, BaseClassifier):
        raise UnsupportedError(
            f'{path}: {kind} is not a classifier, and costs are counted for '
            f'classifiers only. {advice}'
        )
    return model


def cost_of(path: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the counts of a config, with its model and config.

    Raises:
        InputError: The size is unknown, or the network does not run at it.
    """
    from mmtlalign.evaluation.cost import count, image_size
    from mmtlalign.validation.config import load_config

    check_file(path, 'file')
    cfg = load_config(path, options.cfg_options)
    model = build(cfg, path)
    # Classifiers of other libraries inside mmpretrain have no backbone.
    backbone = cfg.model.get('backbone') or cfg.model
    size = options.size or image_size(cfg)
    if size is None:
        raise InputError(f'{path} does not set the size of its images: add --size.')
    cost = count(model, size)
    return dict(
        name=Path(path).stem,
        config=path,
        size=size,
        parameters=cost.parameters,
        macs=cost.macs,
        unused=list(cost.unused),
        published=published(backbone, size),
        notes=notes(backbone),
        model=model,
        cfg=cfg,
    )


# -------------------------------------------------------------------- the throughput


def random_batch(model: 'nn.Module', size: int, count: int) -> dict[str, Any]:
    """Return a random batch as a loader gives it: images (B, 3, s, s) and samples.

    A head that reads label maps gets random ones.
    """
    import torch
    from mmpretrain.structures import DataSample

    from mmtlalign.tracing.trace import token_grid

    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, size, size), generator=draw)
    head = getattr(model, 'head', None)
    samples, classes = [], getattr(head, 'num_classes', 2)
    for label in range(count):
        sample = DataSample().set_gt_label(label % classes)
        if hasattr(head, 'maps'):
            grid = token_grid(model.backbone, (size, size))
            values = torch.rand(classes, *grid, generator=draw)
            sample.set_field(values, 'gt_label_map')
            sample.set_field(values.mean(dim=(1, 2)), 'gt_map_label')
        samples.append(sample)
    return dict(inputs=images.to(torch.uint8), data_samples=samples)


def make_optimizer(model: 'nn.Module', cfg: 'Config') -> 'OptimWrapper':
    """Build the optimizer of a config in the precision of the command line."""
    from mmengine.optim import build_optim_wrapper

    if cfg.get('optim_wrapper') is None:
        raise InputError('optim_wrapper is missing: training needs an optimizer.')
    settings = cfg.optim_wrapper.to_dict()
    if settings.get('type') == 'AmpOptimWrapper':
        settings['type'] = 'OptimWrapper'
    for key in ('loss_scale', 'dtype'):
        settings.pop(key, None)
    return build_optim_wrapper(model, settings)


def throughput(
    rows: list[dict], options: argparse.Namespace
) -> dict[str, dict[str, 'Throughput']]:
    """Time inference and training of all rows: phase -> config -> throughput."""
    import torch
    from mmengine.model import revert_sync_batchnorm

    from mmtlalign.evaluation.throughput import (
        inference_step,
        measure_throughput,
        training_step,
    )

    dtype = torch.bfloat16 if options.amp else None
    steps = {phase: {} for phase in PHASES}
    for row in rows:
        model = revert_sync_batchnorm(row['model']).to(options.device)
        batch = random_batch(model, row['size'], options.batch_size)
        batch['inputs'] = batch['inputs'].to(options.device)
        images = model.data_preprocessor(dict(inputs=batch['inputs']))['inputs']
        steps['inference'][row['config']] = inference_step(model, images, dtype=dtype)
        optimizer = make_optimizer(model, row['cfg'])
        step = training_step(model, optimizer, batch, dtype)
        steps['training'][row['config']] = step
    measured = functools.partial(
        measure_throughput,
        batch=options.batch_size,
        device=options.device,
        warm_up=options.warm_up,
        repeats=options.repeats,
        clock=options.clock,
    )
    return {phase: measured(steps[phase]) for phase in PHASES}


# ------------------------------------------------------------------------ the report


def table(rows: list[dict], known: dict[str, int], control: str | None) -> str:
    """Return the table of counts and times.

    Args:
        rows: Results of :func:`cost_of`, with ``throughput`` if it was timed.
        known: Keys of notes -> their number.
        control: Config to which ratios are taken; None if nothing was timed.
    """
    headings = ['network', 'pixels', 'parameters M', 'GMAC', 'published']
    if control:
        headings += [
            f'{phase} {unit}' for phase in PHASES for unit in ('im/s', 'ratio')
        ]
    lines = [headings]
    for row in rows:
        marks = ','.join(str(known[key]) for key in row['notes'])
        line = [
            f'{row["name"]} [{marks}]' if marks else row['name'],
            str(row['size']),
            f'{row["parameters"] / 1e6:.3f}',
            f'{row["macs"] / 1e9:.4f}',
            row['published'] or '-',
        ]
        for phase in PHASES if control else ():
            found = row['throughput'][phase]
            line += [f'{found["images_per_second"]:,.1f}', f'{found["ratio"]:.2f}']
        lines.append(line)
    return format_table(lines)


def report(options: argparse.Namespace) -> dict[str, Any]:
    """Count, time, print, and return everything for --json."""
    import torch

    from mmtlalign.evaluation.throughput import describe_setting
    from tools.benchmarks.timing import silence_hosts

    silence_hosts()
    paths = list(dict.fromkeys([*filter(None, [options.control]), *options.configs]))
    rows = []
    for path in paths:
        with short_errors(path):
            rows.append(cost_of(path, options))
    found = dict(
        torch=torch.__version__,
        tool='torch.utils.flop_counter / 2, attention as two products',
    )
    if options.throughput:
        options.device = options.device or (
            'cuda' if torch.cuda.is_available() else 'cpu'
        )
        torch.set_num_threads(options.threads or torch.get_num_threads())
        dtype = torch.bfloat16 if options.amp else None
        setting = describe_setting(options.batch_size, options.device, dtype)
        setting.update(
            warm_up=options.warm_up, repeats=options.repeats, clock=options.clock
        )
        found.update(setting, control=paths[0])
        timed = throughput(rows, options)
        for row in rows:
            row['throughput'] = {
                phase: dict(
                    images_per_second=times[row['config']].images_per_second,
                    ratio=times[row['config']].ratio(times[paths[0]]),
                    seconds=times[row['config']].seconds,
                )
                for phase, times in timed.items()
            }
        print(', '.join(f'{key} {value}' for key, value in setting.items()))
    known = {}
    for row in rows:
        for key in row['notes']:
            known.setdefault(key, len(known) + 1)
    print(table(rows, known, paths[0] if options.throughput else None))
    if options.throughput:
        print(f'Ratios are to {Path(paths[0]).stem}: above 1 is faster.')
    print(f'Counted by {found["tool"]}, PyTorch {torch.__version__}.')
    for key, number in known.items():
        print(f'[{number}] {NOTES[key]}')
    for row in rows:
        if row['unused']:
            print(
                f'{row["name"]}: its forward pass does not use the parameters '
                f'{some_of(row["unused"])}, and they add nothing to GMAC.'
            )
        del row['model'], row['cfg']
    return dict(found, rows=rows)


def main(arguments: list[str] | None = None) -> None:
    """Run the tool."""
    options = parse_args(arguments)
    with short_errors(options.configs[0]):
        found = report(options)
        if options.json:
            write_json(options.json, found)


if __name__ == '__main__':
    main()
