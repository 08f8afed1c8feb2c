"""Attaching and detaching: what comes off, what copies and fast classes do."""

import copy
import pickle

import numpy as np
import pytest
import timm
import torch
from contract_rows import ROWS
from contract_steps import build, every_row, mixed, run, stock
from mmpretrain.models.utils.attention import WindowMSA
from torch import nn

from mmtlalign.errors import InputError, TraceError, UnsupportedError
from mmtlalign.fast.hooks import speed_up
from mmtlalign.fast.modules import FastWindowMSA
from mmtlalign.mixing.mixtoken import MixToken
from mmtlalign.tracing.attach import attach, detach
from mmtlalign.tracing.trace import MixTracer, trace, trace_forward


def anatomy(model):
    """Class and attributes of every module; hooks and other objects by their class."""
    found = {}
    for name, module in model.named_modules():
        values = {}
        for key, value in vars(module).items():
            if isinstance(value, (bool, int, float, str, tuple, list, type(None))):
                values[key] = repr(value)
            elif isinstance(value, dict):
                values[key] = sorted(map(str, value))
            else:
                values[key] = type(value)
        found[name] = type(module), values
    return found


def fresh(row):
    """A stock backbone that has seen the images' size, which some hosts keep."""
    backbone = copy.deepcopy(stock(row))
    backbone(mixed(row).images)
    return backbone


@every_row
def test_detached_backbone_is_the_stock_one(row):
    ours = fresh(row)
    before = anatomy(ours)
    attach(ours)
    assert anatomy(ours) != before
    run(ours, mixed(row))
    detach(ours)
    assert anatomy(ours) == before == anatomy(fresh(row))
    again = pickle.loads(pickle.dumps(ours))
    assert anatomy(again) == anatomy(copy.deepcopy(ours)) == before
    detach(ours)  # of one that is not attached: nothing
    _, tracer = traced(attached(ours), row)
    assert tracer.seen == ours.trace_context.attentions


def attached(backbone):
    attach(backbone)
    return backbone


def traced(backbone, row):
    return run(backbone, mixed(row))


@every_row
def test_copies_and_pickles_of_an_attached_backbone_come_off_alone(row):
    ours = attached(fresh(row))
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        _, theirs = traced(other, row)
        detach(other)
        assert anatomy(other) == anatomy(fresh(row))
        _, mine = traced(ours, row)
        assert torch.equal(mine.share, theirs.share)


def test_an_attention_that_cannot_be_attached_leaves_nothing():
    backbone = build('T2T-ViT')
    backbone.encoder[-1].attn.scaled_dot_product_attention = torch.matmul
    before = anatomy(backbone)
    with pytest.raises(UnsupportedError, match='matmul'):
        attach(backbone)
    assert anatomy(backbone) == before


@pytest.mark.parametrize('row', ['ViT', 'Swin', 'DHVT', 'timm ViT'])
def test_trace_leaves_a_backbone_as_it_was(row):
    ours, mix = copy.deepcopy(stock(row)), mixed(row)
    for attach_first in (False, True):
        if attach_first:
            attach(ours)
        before = anatomy(ours)
        torch.manual_seed(5)
        with trace(ours, mix) as tracer:
            ours(mix.images)
        assert anatomy(ours) == before
        share = tracer.partner_shares()[0]
        assert torch.equal(tracer.target(), mix.target(share))
        assert (share - mix.area()).abs().max() > 1e-4


def test_what_is_wrong_is_said():
    ours, mix = copy.deepcopy(stock('ViT')), mixed('ViT')
    with pytest.raises(InputError, match=r'not attached: call mmtlalign.attach'):
        with trace_forward(ours, None):
            pass
    attach(ours)
    tracer = MixTracer(ours, mix)
    with pytest.raises(TraceError, match='detach it after'):
        with trace_forward(ours, tracer):
            detach(ours)


def test_a_second_trace_is_refused():
    ours, mix = attached(copy.deepcopy(stock('ViT'))), mixed('ViT')
    with trace(ours, mix) as tracer:
        with pytest.raises(TraceError, match='already being traced'):
            with trace(ours, mix):
                pass
        ours(mix.images)
    assert tracer.seen == 3


def test_trace_mixes_tokens_where_the_record_says_so():
    ours = copy.deepcopy(stock('ViT'))
    ours.eval()  # which returns nothing
    images = torch.randn(4, 3, *ROWS['ViT'].size)
    mix = MixToken(patch_size=ROWS['ViT'].patch).mix(images, torch.eye(4))
    assert torch.equal(mix.images, images)
    with torch.no_grad(), trace(ours, mix):
        mixed_output = ours(mix.images)[-1]
    assert not torch.allclose(mixed_output, ours(images)[-1], atol=1e-4)
    model = timm.create_model('vit_tiny_patch16_224', num_classes=4, depth=1)
    mix = MixToken().mix(torch.randn(4, 3, 224, 224), torch.eye(4))
    with pytest.raises(UnsupportedError, match='does not give tokens and their grid'):
        with trace(model, mix):
            model(mix.images)
    assert not hasattr(model, 'trace_context')


@pytest.mark.parametrize('output', ['cls', 'class'])
def test_outputs_that_a_tracer_does_not_have(output):
    tracer = MixTracer(attached(copy.deepcopy(stock('Swin'))), mixed('Swin'))
    with pytest.raises(InputError, match='with 0 special tokens'):
        tracer.output_shares(output)


@pytest.mark.parametrize('row', ['ViT', 'Swin', 'Swin, any size', 'DHVT', 'PVT'])
@pytest.mark.parametrize('kernel', ['fused', 'explicit'])
def test_fast_classes_and_tracing_in_either_order(row, kernel):
    if row not in ROWS:
        pytest.skip(f'no row {row}')
    _, wanted = traced(attached(copy.deepcopy(stock(row))), row)
    first = copy.deepcopy(stock(row))
    speed_up(first, kernel)
    attach(first)
    second = attached(copy.deepcopy(stock(row)))
    speed_up(second, kernel)
    for model in (first, second):
        out, tracer = traced(model, row)
        for ours, theirs in zip(tracer.history, wanted.history, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
        out.sum().backward()
        detach(model)
        # Detached, it is as fast as before.
        functions = {
            type(vars(module)['scaled_dot_product_attention']).__name__
            for module in model.modules()
            if 'scaled_dot_product_attention' in vars(module)
        }
        assert functions <= {'AttentionKernel'}
    assert type(first) is type(second) is type(stock(row))


def test_hooks_on_a_softmax_make_fast_windows_explicit():
    """So that a reader of weights, of whatever kind, has some to read."""
    attention = WindowMSA(8, (2, 2), 2)
    attention.init_weights()
    ours = copy.deepcopy(attention)
    seen = []
    for module in (attention, ours):
        module.softmax.register_forward_hook(lambda *args: seen.append(args[-1]))
    speed_up(nn.Sequential(ours), 'fused')
    assert type(ours) is FastWindowMSA
    x = torch.from_numpy(np.random.rand(3, 4, 8)).float()
    torch.testing.assert_close(ours(x), attention(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*seen)
