"""Rows of the tracing contract: every mask method with TL-Align and with TransMix."""

import functools

import numpy as np
import oracles
import pytest
import torch
from contract_rows import HOOKS, ROWS
from contract_steps import attached, stock

from mmtlalign import mixing
from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.tracing.attention_readers import attention_reader
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import MixTracer, trace_forward


def guide(images, labels):
    """A map as any network could give it."""
    return GuideOutput(
        torch.rand(len(images), 4, 4),
        torch.randn(labels.shape),
        torch.rand_like(images),
    )


# Every augment whose record is a mask; tokens of 8 pixels divide all images.
AUGMENTS = {
    'CutMix': dict(),
    'Mixup': dict(alpha=0.8),
    'ResizeMix': dict(),
    'FMix': dict(max_soft=0.3),
    'GridMix': dict(grid=4),
    'TokenCutMix': dict(patch_size=8),
    'TokenMix': dict(patch_size=8),
    'MaskMix': dict(cell=8),
    'AttentiveCutMix': dict(top_k=5),
    'SMMix': dict(),
    'SaliencyMix': dict(),
    'PuzzleMix': dict(blocks=(4,), levels=3),
}
OF_EACH = ('MaskMix', 'AttentiveCutMix', 'SMMix', 'PuzzleMix')
MODES = {n: ('elem',) if n in OF_EACH else ('batch', 'elem') for n in AUGMENTS}
CASES = [(n, mode) for n in AUGMENTS for mode in MODES[n]]


def mixed(row, name, mode):
    torch.manual_seed(1)
    np.random.seed(3)
    images = torch.randn(4, 3, *ROWS[row].size)
    kind = getattr(mixing, name)
    options = dict(AUGMENTS[name])
    return kind(**options, mode=mode).mix(images, torch.eye(4), guide=guide)


@functools.cache
def dense(row, name, mode):
    """The stock network's attentions of a batch, written densely."""
    return oracles.dense_events(stock(row), mixed(row, name, mode).images, HOOKS)


@pytest.mark.parametrize('row', ['ViT', 'Swin'])
@pytest.mark.parametrize('name, mode', CASES)
def test_tl_align_traces_every_mask(row, name, mode):
    mix, backbone = mixed(row, name, mode), attached(row)
    with trace_forward(backbone, MixTracer(backbone, mix)) as tracer:
        backbone(mix.images)
    _, way = oracles.dense_rollout(stock(row), mix.images, HOOKS)
    prefix = backbone_spec(backbone).prefix(backbone)
    begin = oracles.start(mix.mask, ROWS[row].patch, prefix, len(mix.images))
    torch.testing.assert_close(tracer.share.double(), way @ begin, rtol=0, atol=2e-6)
    (share,) = tracer.partner_shares()
    moved = (share - mix.area()).abs().max()
    # Mixup's share is the same everywhere, which no attention changes.
    assert moved < 1e-6 if name == 'Mixup' else moved > 1e-4


@pytest.mark.parametrize('row', ['ViT', 'Swin'])
@pytest.mark.parametrize('name, mode', CASES)
def test_transmix_reads_every_mask(row, name, mode):
    mix, backbone = mixed(row, name, mode), attached(row)
    kind = 'cls' if ROWS[row].output == 'class' else 'received'
    with trace_forward(backbone, attention_reader(backbone, mix, kind)) as seen:
        backbone(mix.images)
    events = dense(row, name, mode)
    if kind == 'received':
        events = [event for event in events if event[0] != 'look']
    look, merges = oracles.last_look(events)
    prefix = backbone_spec(backbone).prefix(backbone)
    step = ROWS[row].patch * 2**merges
    mask = mix.mask[:, 0, ::step, ::step].double().flatten(1)
    if kind == 'cls':
        paid = look[:, 0, prefix:]
    else:
        paid = look[:, prefix:, prefix:].mean(dim=1)
    expected = (paid * mask).sum(-1) / paid.sum(-1)
    (found,) = seen.output_shares()
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-6)
