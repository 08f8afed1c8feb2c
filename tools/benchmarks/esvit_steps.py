"""Whole steps of EsViT, and the cost of the region loss at several batch sizes."""

import argparse
import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmtlalign.fast.hooks import speed_up
from tools.benchmarks import timing
from tools.benchmarks.peak_memory import peak_bytes
from tools.benchmarks.reference.esvit import GLOBAL, TEACHER_TEMP

MODELS_DIR = Path(__file__).resolve().parents[2] / 'configs' / '_base_' / 'models'
VITS = ('deit-tiny', 'deit-small', 'deit-base')
# The kernel of FastAttentionHook in the recipes of Swin.
KERNEL = 'explicit'
MINI = dict(embed_dims=24, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])
LOCAL = 8


def build(options: argparse.Namespace, regions: bool = True) -> nn.Module:
    """Build EsViT as in the recipes, with the sizes that the options ask for.

    Args:
        options: With ``arch``, ``prototypes`` and ``device``.
        regions: Whether it has the region loss.
    """
    vit = options.arch in VITS
    file = MODELS_DIR / ('esvit_deit_small.py' if vit else 'esvit_swin_tiny.py')
    settings = copy.deepcopy(Config.fromfile(file).model)
    arch = MINI if options.arch == 'mini' else options.arch
    settings.backbone.update(arch=arch, drop_path_rate=0.0)
    backbone = MODELS.build(copy.deepcopy(settings.backbone))
    width = backbone.embed_dims if vit else backbone.num_features[-1]
    for head in (settings.head, settings.region_head):
        head.update(in_channels=width, out_channels=options.prototypes)
    if not regions:
        settings.region_head = None
    torch.manual_seed(0)
    model = MODELS.build(settings)
    model.init_weights()
    model.teacher_temp = TEACHER_TEMP
    speed_up(model, 'auto' if vit else KERNEL)
    return model.to(options.device).train()


def draw_crops(batch: int, options: argparse.Namespace) -> list[Tensor]:
    """Draw the global and local crops of a batch, (B, 3, s, s) each."""
    sizes = [options.size] * GLOBAL + [options.local_size] * LOCAL
    return [torch.randn(batch, 3, size, size, device=options.device) for size in sizes]


def loss_of(model: nn.Module, crops: list[Tensor]) -> Tensor:
    """Return the sum of a model's losses, as in a training step."""
    losses = model.loss(crops)
    for center in model.centers.values():
        center.batch_means.clear()  # as a step of the optimizer would
    return sum(loss for name, loss in losses.items() if name.startswith('loss_'))


def backward_of(
    model: nn.Module, loss: Callable[[], Tensor], options: argparse.Namespace
) -> Callable[[], Tensor]:
    """Return a call that computes a loss and the gradients of a model."""

    def step() -> Tensor:
        with torch.autocast(options.device, torch.bfloat16, enabled=options.amp):
            found = loss()
        found.backward()
        model.zero_grad(set_to_none=True)
        return found.detach()

    return step


def compare_batches(options: argparse.Namespace) -> list[dict]:
    """Measure a step without and with the region loss; a row for each batch size.

    Batches double until memory runs out, or ``largest_batch`` is reached.
    """
    if not options.largest_batch:
        return []
    models = {'V': build(options, regions=False), 'V+R': build(options)}
    rows, batch = [], 1
    while batch <= options.largest_batch:
        try:
            crops = draw_crops(batch, options)
            steps = {
                name: backward_of(model, partial(loss_of, model, crops), options)
                for name, model in models.items()
            }
            work, wall = timing.take_turns(steps, options.repeats, options.device)
            peaks = {n: peak_bytes(step, options.device) for n, step in steps.items()}
        except (torch.cuda.OutOfMemoryError, MemoryError):
            print(f'Out of memory before a batch of {batch}.')
            break
        row = dict(batch=batch, seconds=work, wall=wall, peak_bytes=peaks)
        row['time_ratio'] = timing.ratios(work['V+R'], work['V'])
        rows.append(row | dict(peak_ratio=peaks['V+R'] / peaks['V']))
        batch *= 2
    return rows


def report_batches(rows: list[dict], options: argparse.Namespace) -> None:
    """Print what the region loss adds, batch by batch."""
    cells = [
        [
            str(row['batch']),
            *(
                timing.cell(timing.quartiles(s), 1e3, 1)
                for s in row['seconds'].values()
            ),
            timing.cell(row['time_ratio'], digits=2),
            *(f'{peak / 2**20:,.1f}' for peak in row['peak_bytes'].values()),
            f'{row["peak_ratio"]:.2f}',
        ]
        for row in rows
    ]
    title = f'View loss (V) and region loss as well (V+R), {options.arch}'
    headings = ('batch', 'V, ms', 'V+R, ms', 'ratio', 'V, MiB', 'V+R, MiB', 'ratio')
    timing.print_table(title, headings, cells)
