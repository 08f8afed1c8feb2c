"""A row of the tracing contract: nothing larger than the stock step ever has."""

import pytest
import torch
from conftest import needs_value_channels
from contract_rows import EVERY
from contract_steps import build, flat, mix_images, run
from torch.utils._python_dispatch import TorchDispatchMode

from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.attention_readers import attention_reader
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import token_grid, trace_forward

SIDE = 32  # tokens, at the finest: 1,024 in all


class Watcher(TorchDispatchMode):
    """Remembers operators and the largest square at the end of any tensor."""

    def __init__(self):
        super().__init__()
        self.names, self.square = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.names.append(func.__name__)
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor) and tensor.ndim > 2:
                self.square = max(self.square, min(tensor.shape[-2:]))
        return out

    def count(self, part):
        """How often an operator ran whose name has ``part`` in it."""
        return sum(part in name for name in self.names)


def one_of_a_kind():
    """The first row of every architecture."""
    kinds = {}
    for row, entry in EVERY.items():
        kind = entry.config['type'], entry.config.get('model_name')
        kinds.setdefault(kind, row)
    return list(kinds.values())


def build_large(row):
    """The row's backbone for SIDE x SIDE tokens, and the images' side in pixels."""
    side, config = SIDE * EVERY[row].patch, EVERY[row].config
    sizes = [key for key in ('img_size', 'pretrain_img_size') if key in config]
    return build(row, **dict.fromkeys(sizes, side)), side


@pytest.mark.parametrize('row', one_of_a_kind())
def test_long_sequences_store_no_map_that_the_stock_step_does_not(row):
    backbone, side = build_large(row)
    mix = mix_images((side, side), batch=1)
    with Watcher() as stock:
        flat(backbone(mix.images)).sum().backward()
    attach(backbone, EVERY[row].learnt_weights)
    assert token_grid(backbone, (side, side)) == (SIDE, SIDE)
    # A map of all tokens is larger than the image, so that it could not hide.
    assert side < SIDE**2
    with Watcher() as traced:
        run(backbone, mix)[0].sum().backward()
    assert traced.square <= max(stock.square, side)
    assert traced.count('flash_attention') >= stock.count('flash_attention')

    if EVERY[row].learnt_weights:
        return  # there is no attention to look at
    has_class = backbone_spec(backbone).output(backbone) == 'class'
    kind = 'cls' if has_class else 'received'
    with (
        Watcher() as looked,
        trace_forward(backbone, attention_reader(backbone, mix, kind)) as seen,
    ):
        flat(backbone(mix.images)).sum().backward()
        seen.output_shares()
    assert looked.square <= max(stock.square, side)


@needs_value_channels
def test_a_fused_host_stays_fused_and_the_share_rides_along():
    backbone, side = build_large('ViT')
    attach(backbone)
    with Watcher() as watcher:
        run(backbone, mix_images((side, side)))[0].sum().backward()
    assert watcher.count('flash_attention_for_cpu_backward') == 3
    # Three layers: forward and backward, no call more.
    assert watcher.count('flash_attention') == 6
    assert watcher.square == side
