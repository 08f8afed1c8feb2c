r"""Measure what token labels cost: reading maps, pooling them, and a training step.

    python tools/benchmarks/benchmark_labels.py         # three minutes on one core
    python tools/benchmarks/benchmark_labels.py --device cuda --amp --batch 128 \
        --repeats 20

Maps are synthetic, of the size of the published ones, and are read in random order
from a store of this package and from the official layout, one .pt file per map. A
training step is forward, backward and AdamW of LV-ViT-S with MixToken. The variants
take turns; every figure is the median of the rounds and, in brackets, their quartiles.

On a CPU the time of a step is the CPU time of the process; reading is timed by the
wall clock. --json writes all samples.
"""

import argparse
import copy
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from mmengine.registry import MODELS
from torch import nn

from mmtlalign.methods.token_labeling.targets import collate_label_maps
from tools.benchmarks import timing
from tools.benchmarks.label_map_io import (
    CLASSES,
    LAYOUTS,
    MAP_TRANSFORMS,
    PATCH,
    TOPK,
    bytes_of,
    compare_pipelines,
    compare_reading,
    write_maps,
)
from tools.benchmarks.peak_memory import peak_bytes
from tools.output import write_json

IMAGENET = 1281167
BACKBONE = dict(type='mmtlalign.LVViT', arch='small', drop_path_rate=0.1)


# ------------------------------------------------------------------------ the step


def build(dense: bool, options: argparse.Namespace) -> nn.Module:
    """Build LV-ViT-S with MixToken, for token labels or for class labels."""
    torch.manual_seed(0)
    backbone = dict(copy.deepcopy(BACKBONE), img_size=options.size, out_type='raw')
    width = MODELS.build(copy.deepcopy(backbone)).embed_dims
    loss = dict(type='mmtlalign.TokenLabelLoss', dense_weight='code' if dense else 0)
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=backbone,
            head=dict(
                type='mmtlalign.TokenLabelClsHead',
                num_classes=CLASSES,
                in_channels=width,
                class_target='map' if dense else 'label',
                loss=loss,
                label_smooth_val=0.1,
            ),
            train_cfg=dict(augments=dict(type='mmtlalign.MixToken', patch_size=PATCH)),
            data_preprocessor=dict(mean=[127.0] * 3, std=[64.0] * 3),
        )
    )
    return model.to(options.device).train()


class Batches:
    """Batches that are collated anew before each step, because steps change them.

    Args:
        packed: Samples of the data pipeline, by form of their labels.
        batch: Number of images.
    """

    def __init__(self, packed: dict[str, list[dict]], batch: int):
        self.packed, self.batch, self.data = packed, batch, None

    def renew(self, round_: int) -> None:
        """Collate for a round, and seed it."""
        np.random.seed(round_)
        self.data = {
            form: collate_label_maps(
                [
                    dict(item, data_samples=item['data_samples'].clone())
                    for item in (packed * self.batch)[: self.batch]
                ]
            )
            for form, packed in self.packed.items()
        }


def training_step(
    model: nn.Module, batches: Batches, precision: Callable
) -> Callable[[], None]:
    """Return a call of forward, backward and AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step():
        data = model.data_preprocessor(batches.data['top k'], training=True)
        with precision():
            losses = model(**data, mode='loss')
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def label_step(
    model: nn.Module,
    batches: Batches,
    form: str,
    precision: Callable,
    options: argparse.Namespace,
) -> Callable[[], None]:
    """Return a call of everything but the network, from samples to loss and back."""
    tokens = (options.size // PATCH) ** 2
    shapes = ((options.batch, CLASSES), (options.batch, tokens, CLASSES))
    dtype = torch.bfloat16 if options.amp else torch.float32
    scores = [torch.randn(s, device=options.device).to(dtype) for s in shapes]
    scores = [s.requires_grad_() for s in scores]
    images = torch.zeros(options.batch, 3, options.size, options.size)
    images = images.to(options.device)
    labels = torch.eye(CLASSES, device=options.device)[7].expand(options.batch, -1)
    head = copy.deepcopy(model.head)
    head.scores = lambda feats: (scores[0], scores[1] if head.dense else None)

    def step():
        mix = model.mixer(images, labels)
        with precision(), head.trace(model.backbone, mix) as traced:
            samples = batches.data[form]['data_samples']
            losses = head.loss(None, samples, mix, traced)
        sum(losses.values()).backward()
        for score in scores:
            score.grad = None

    return step


def aux_step(
    model: nn.Module, precision: Callable, options: argparse.Namespace
) -> Callable[[], None]:
    """Return a forward and backward call of the token classifier."""
    layer = copy.deepcopy(model.head.layers.aux_head)
    shape = (options.batch, (options.size // PATCH) ** 2)
    tokens = torch.randn(*shape, layer.in_features, device=options.device)
    tokens.requires_grad_()
    gradient = torch.randn(*shape, CLASSES, device=options.device)

    def step():
        with precision():
            out = layer(tokens)
        out.backward(gradient.to(out.dtype))
        layer.zero_grad()
        tokens.grad = None

    return step


def compare_steps(
    packed: dict[str, list[dict]], options: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, int]]:
    """Measure steps and their parts: seconds by round, wall clock, peak bytes."""

    def precision():
        return torch.autocast(options.device, dtype=torch.bfloat16, enabled=options.amp)

    batches = Batches(packed, options.batch)
    plain, dense = build(False, options), build(True, options)
    given = batches, precision
    parts = {
        'labels, top k': label_step(dense, batches, 'top k', precision, options),
        'labels, all columns': label_step(dense, batches, 'all', precision, options),
        'labels, class alone': label_step(plain, batches, 'top k', precision, options),
    }
    steps = {
        'step, class labels': training_step(plain, *given),
        'step, token labels': training_step(dense, *given),
        'aux head': aux_step(dense, precision, options),
        **parts,
    }
    work, wall = timing.take_turns(
        steps, options.repeats, options.device, before=batches.renew
    )
    peaks = {}
    for name, step in parts.items():
        batches.renew(0)
        peaks[name] = peak_bytes(step, options.device)
    return work, wall, peaks


# ------------------------------------------------------------------------ the report


def shares(
    work: dict[str, list[float]], workers: dict[str, list[float]], batch: int
) -> dict[str, dict[str, float]]:
    """Return each part as a ratio to a step with class labels, round by round."""
    base = work['step, class labels']
    extra = [
        ('map from the store',),
        ('pool',),
        *((f'{m}, map', m) for m in MAP_TRANSFORMS),
    ]
    in_worker = [
        batch
        * sum(workers[w][i] - sum(workers[o][i] for o in out) for w, *out in extra)
        for i in range(len(base))
    ]
    loss = work['labels, top k']
    found = {name: timing.ratios(times, base) for name, times in work.items()}
    found['maps in the workers'] = timing.ratios(in_worker, base)
    found['label handling in all'] = timing.ratios(
        [a + b for a, b in zip(loss, in_worker)], base
    )
    return found


def report_reading(
    found: dict[str, dict], sizes: dict[str, tuple[int, int]], count: int
) -> None:
    """Print the speeds of both layouts, and the disk space for ImageNet."""
    timing.print_table(
        f'Reading {count} maps, random order',
        ('', 'store, maps/s', '.pt files, maps/s', 'ratio'),
        [
            [
                name,
                *(timing.cell(timing.quartiles(row[layout])) for layout in LAYOUTS),
                timing.cell(row['ratio'], digits=2),
            ]
            for name, row in found.items()
        ],
    )
    each = {k: [b / count * IMAGENET / 1e9 for b in v] for k, v in sizes.items()}
    print(
        f'\nImageNet ({IMAGENET:,} maps): store {each["store"][0]:.1f} GB; .pt files '
        f'{each["official"][0]:.1f} GB, {each["official"][1]:.1f} GB on this disk'
    )


def report_steps(
    work: dict[str, list[float]],
    workers: dict[str, list[float]],
    peaks: dict[str, int],
    found: dict[str, dict[str, float]],
    options: argparse.Namespace,
) -> None:
    """Print the costs of the workers' steps, of the training step, and their sum."""
    timing.print_table(
        'In a worker, microseconds an image',
        ('', 'time'),
        [
            [name, timing.cell(timing.quartiles(times), 1e6)]
            for name, times in workers.items()
        ],
    )
    timing.print_table(
        f'A training step, batch {options.batch}, {options.size} pixels',
        ('', 'ms', '% of the step with class labels', 'peak MiB'),
        [
            [
                name,
                timing.cell(timing.quartiles(work[name]), 1e3, 1)
                if name in work
                else '',
                timing.cell(share, 100, 2),
                f'{peaks[name] / 2**20:.1f}' if name in peaks else '',
            ]
            for name, share in found.items()
        ],
    )


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--maps', type=int, default=2048, help='number of maps to read (default: 2048)')
    add(
        '--named', type=int, default=100, help='distinct classes per map (default: 100)'
    )
    add('--workers', type=int, default=2, help='reading processes (default: 2)')
    add(
        '--images',
        type=int,
        default=16,
        help='images per round through the pipeline (default: 16)',
    )
    add('--batch', type=int, default=8, help='images per step (default: 8)')
    add(
        '--size',
        type=int,
        default=224,
        help='side of the image in pixels (default: 224)',
    )
    add('--topk', type=int, default=10, help='classes kept per token (default: 10)')
    add('--repeats', type=int, default=5, help='rounds (default: 5)')
    add('--threads', type=int, default=1, help='CPU threads (default: 1)')
    add('--device', default='cpu', choices=['cpu', 'cuda'])
    add('--amp', action='store_true', help='use autocast to bfloat16')
    add('--folder', help='folder to write the maps to; default: a temporary folder')
    add('--json', metavar='FILE', help='write all samples to FILE, in seconds')
    options = parser.parse_args(arguments)
    for name in ('named', 'workers', 'images', 'batch', 'topk', 'repeats', 'threads'):
        if getattr(options, name) < 1:
            parser.error(f'--{name} takes 1 or more')
    if options.maps < 32 * options.workers:
        parser.error(f'--maps takes {32 * options.workers} or more: 32 for each worker')
    if not TOPK <= options.named <= CLASSES:
        parser.error(f'--named takes {TOPK} to {CLASSES}')
    if options.size < PATCH or options.size % PATCH:
        parser.error(f'--size takes a multiple of {PATCH}')
    return options


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    options = parse_args(arguments)
    timing.set_up(options)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        folder = Path(folder)
        names = write_maps(folder, options.maps, options.named)
        reading = compare_reading(folder, names, options.workers, options.repeats)
        sizes = {layout: bytes_of(folder / layout) for layout in LAYOUTS}
        report_reading(reading, sizes, options.maps)
        chosen = random.Random(1).sample(names, min(len(names), options.images))
        workers, packed = compare_pipelines(
            folder, chosen, options.size, options.topk, options.repeats
        )
    work, wall, peaks = compare_steps(packed, options)
    found = shares(work, workers, options.batch)
    report_steps(work, workers, peaks, found, options)
    if options.json:
        content = dict(
            vars(options),
            reading=reading,
            bytes=sizes,
            workers=workers,
            seconds=work,
            wall=wall,
            peak_bytes=peaks,
            shares=found,
        )
        write_json(options.json, content)


if __name__ == '__main__':
    main()
