"""What the tests of the tracing contract share: a row's backbone and its steps."""

import copy
import functools

import numpy as np
import pytest
import torch
from contract_rows import EVERY, ROWS
from mmengine.registry import MODELS, init_default_scope

from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.trace import MixTracer, trace, trace_forward

every_row = pytest.mark.parametrize('row', ROWS)
every_traced_row = pytest.mark.parametrize('row', EVERY)


def build(row, **changes):
    """A stock backbone in training mode whose attention is far from uniform."""
    init_default_scope(EVERY[row].scope)
    torch.manual_seed(7)
    backbone = MODELS.build(dict(copy.deepcopy(EVERY[row].config), **changes))
    for name, parameter in backbone.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15 if 'patch' in name else 0.25)
    for module in backbone.modules():
        if hasattr(module, 'drop_prob'):
            # mmpretrain leaves NumPy floats here, which torch.compile rejects.
            module.drop_prob = 0.0
    backbone.train()
    return backbone


@functools.cache
def stock(row):
    """The row's backbone as it is; copy it before changing anything."""
    return build(row)


def attached(row):
    """A copy of the row's backbone that can be traced."""
    backbone = copy.deepcopy(stock(row))
    attach(backbone, EVERY[row].learnt_weights)
    return backbone


def mixed(row, batch=3, seed=1):
    """A mixed batch of the row's size."""
    return mix_images(EVERY[row].size, batch, seed)


def mix_images(size, batch=3, seed=1):
    """A mixed batch of any size (height, width)."""
    torch.manual_seed(seed)
    np.random.seed(3)
    images = torch.randn(batch, 3, *size)
    return CutMix(pairing='flip').mix(images, torch.eye(batch))


def run(backbone, mix, seed=5, **options):
    """Output and tracer of one traced forward of a attached backbone."""
    torch.manual_seed(seed)
    with trace_forward(backbone, MixTracer(backbone, mix, **options)) as tracer:
        out = backbone(mix.images)
    return flat(out), tracer


@torch.no_grad()
def trace_images(backbone, mix):
    """Tracer of one forward of any backbone, without gradient."""
    with trace(backbone, mix) as tracer:
        backbone(mix.images)
    return tracer


def needs_autocast(row, dtype):
    """Skip where PyTorch 2.1 does not cast the attention mask of the stock backbone."""
    try:
        with torch.no_grad(), torch.autocast('cpu', dtype):
            copy.deepcopy(stock(row))(mixed(row).images)
    except RuntimeError as error:
        if torch.__version__ >= '2.2' or 'attn_mask dtype' not in str(error):
            raise
        pytest.skip(f'the stock model has no {dtype} here: {str(error)[:80]}')


def flat(out):
    """The last output as one tensor."""
    last = out[-1]
    return torch.stack(last) if isinstance(last, tuple) else last


def random_loss(out):
    """A loss whose gradient passes a last layer norm, unlike that of squares."""
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    return (out * weights).sum()


def plain(backbone, images, seed=5):
    """Output of one forward without a tracer."""
    torch.manual_seed(seed)
    return flat(backbone(images))
