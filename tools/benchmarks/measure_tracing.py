"""Measure what reading the attentions of a network costs on the CPU.

    python tools/benchmarks/measure_tracing.py
    python tools/benchmarks/measure_tracing.py --networks timm-vit swin --json FILE

Networks are so small that nearly all of their time is overhead of Python and PyTorch. A
traced forward takes turns with one without tracing, and, where attention is computed
inside a library's forward, with one whose calls are intercepted by a function mode, as
an earlier version did. It counts the operations that tracing adds, without views, and
the PyTorch calls that pass the mode. Times are the least CPU time of all rounds, as
other load on the machine can only add to them.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

# A checkout works whether or not the package is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from mmengine.registry import MODELS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import mmtlalign.backbones  # noqa: F401  (registers our own)
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.tracing import capture
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.trace import MixTracer, trace_forward
from tools.benchmarks import timing
from tools.machine import describe_machine
from tools.output import write_json

SIZE = 64
_ARCH = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=96)
_WINDOWS = dict(embed_dims=48, depths=[2], num_heads=[3])
_TIMM = dict(img_size=SIZE, patch_size=16, embed_dim=48, depth=2, num_heads=3)
_TIMM_WINDOWS = dict(img_size=SIZE, window_size=4, embed_dim=48)


def _mmpretrain(name: str, **options: Any) -> dict:
    return dict(type=f'mmpretrain.{name}', img_size=SIZE, **options)


def _timm(name: str, **options: Any) -> dict:
    return dict(type='mmtlalign.TIMMBackbone', model_name=name, **options)


# Two attentions each: so short that other processes seldom interrupt a forward.
NETWORKS = {
    'vit': _mmpretrain('VisionTransformer', arch=_ARCH, patch_size=16),
    'swin': _mmpretrain(
        'SwinTransformer', arch=_WINDOWS, window_size=4, out_indices=(0,)
    ),
    'beit': _mmpretrain('BEiTViT', arch=_ARCH, patch_size=16),
    'timm-vit': _timm('vit_tiny_patch16_224', **_TIMM),
    'timm-eva02': _timm('eva02_tiny_patch14_224', **_TIMM),
    'timm-beit': _timm('beit_base_patch16_224', **_TIMM),
    'timm-swin': _timm(
        'swin_tiny_patch4_window7_224', depths=(2,), num_heads=(3,), **_TIMM_WINDOWS
    ),
    'timm-pvt2': _timm(
        'pvt_v2_b0',
        depths=(1, 1),
        embed_dims=(24, 48),
        num_heads=(1, 2),
        sr_ratios=(4, 2),
        mlp_ratios=(2, 2),
    ),
}


class Count(TorchDispatchMode):
    """Count the operations that PyTorch runs, without views."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        self.operations += not getattr(func, 'is_view', False)
        return func(*args, **(kwargs or {}))


@contextmanager
def count_intercepted() -> Iterator[list]:
    """List the calls of PyTorch that pass a function mode."""
    calls: list = []
    mode = capture._AttentionCalls.__torch_function__

    def passing(self: Any, func: Callable, *args: Any, **kwargs: Any) -> Any:
        calls.append(func)
        return mode(self, func, *args, **kwargs)

    with mock.patch.object(capture._AttentionCalls, '__torch_function__', passing):
        yield calls


def make_network(config: dict, intercepted: bool = False) -> nn.Module:
    """Return a network that can be traced; networks of one config have equal weights.

    Args:
        config: Config of the backbone.
        intercepted: Whether attention inside a forward is read by a function mode.
    """
    torch.manual_seed(0)
    network = MODELS.build(dict(config))
    network.train()
    for module in network.modules():
        if hasattr(module, 'drop_prob'):
            module.drop_prob = 0.0
    capture._capturing.cache_clear()
    with mock.patch.object(
        capture,
        'forward_with_hook',
        (lambda *args: None) if intercepted else capture.forward_with_hook,
    ):
        attach(network)
    capture._capturing.cache_clear()
    return network


def measure(name: str, config: dict, options: argparse.Namespace) -> dict:
    """Count and time the forward of a network, plain, traced and intercepted."""
    images = torch.randn(options.batch, 3, SIZE, SIZE)
    mix = CutMix(pairing='flip').mix(images, torch.eye(options.batch))
    hooked, old = make_network(config), make_network(config, intercepted=True)
    attentions = hooked.trace_context.attentions

    @torch.no_grad()
    def plain() -> None:
        hooked(mix.images)

    @torch.no_grad()
    def traced(network: nn.Module = hooked) -> None:
        with trace_forward(network, MixTracer(network, mix)):
            network(mix.images)

    steps = dict(plain=plain, traced=traced)
    with count_intercepted() as calls:
        traced(old)
    if calls:
        steps['intercepted'] = lambda: traced(old)
    counted = {}
    for step in steps:
        with Count() as count:
            steps[step]()
        counted[step] = count.operations
    work, _ = timing.take_turns(steps, options.repeats, steps_per_sample=options.steps)
    least = {step: 1e6 * min(times) / attentions for step, times in work.items()}
    return dict(
        network=name,
        attentions=attentions,
        intercepted_calls=len(calls) / attentions,
        operations={k: n / attentions for k, n in counted.items()},
        microseconds=least,
    )


def cells(row: dict) -> list[str]:
    """Return the cells of a row of the table, as numbers per attention."""
    operations, times = row['operations'], row['microseconds']
    plain, old = times['plain'], times.get('intercepted')
    return [
        row['network'],
        str(row['attentions']),
        f'{operations["plain"]:.1f}',
        f'{operations["traced"] - operations["plain"]:.1f}',
        f'{row["intercepted_calls"]:.0f}' if old else '–',
        f'{plain:,.0f}',
        f'{old - plain:,.0f}' if old else '–',
        f'{times["traced"] - plain:,.0f}',
    ]


HEADINGS = (
    'network',
    'attentions',
    'operations, plain',
    'more, traced',
    'calls through a mode, once',
    'µs, plain',
    'µs more, intercepted',
    'µs more, traced',
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--networks', nargs='+', choices=NETWORKS, default=list(NETWORKS))
    add('--batch', type=int, default=2, help='batch size (default: 2)')
    add('--repeats', type=int, default=200, help='rounds (default: 200)')
    add('--steps', type=int, default=1, help='forward passes per timing (default: 1)')
    add('--json', metavar='FILE', help='write all figures to FILE')
    options = parser.parse_args(arguments)
    if min(options.batch // 2, options.repeats, options.steps) < 1:
        parser.error('--batch takes 2 or more, --repeats and --steps 1 or more')
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    timing.silence_hosts()
    where = describe_machine()
    rows: list[dict] = []

    def lines() -> Iterator[list[str]]:
        for name in options.networks:
            rows.append(measure(name, NETWORKS[name], options))
            yield cells(rows[-1])

    timing.print_table(
        f'For one attention, {where["processor"]}, load {where["load_average"][0]}, '
        f'torch {torch.__version__}, one thread, {options.repeats} rounds',
        HEADINGS,
        lines(),
    )
    if options.json:
        write_json(options.json, dict(machine=where, rows=rows))


if __name__ == '__main__':
    main()
