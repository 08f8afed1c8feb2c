"""Gradient checkpointing beside ``trace``: a layer is recomputed outside of it."""

import copy

import pytest
import torch
from contract_rows import EVERY
from contract_steps import attached, mixed, random_loss, run, stock
from torch.utils.checkpoint import checkpoint

from mmtlalign.tracing.attach import detach
from mmtlalign.tracing.trace import trace

ROWS = ('ViT', 'Swin', 'PVT', 'DHVT', 'BEiT', 'XCiT', 'T2T-ViT', 'timm ViT')
ROWS += ('timm Swin', 'timm PVT v2')


def loss(network, images):
    torch.manual_seed(5)
    out = network(images)[-1]
    out = torch.stack(out) if isinstance(out, tuple) else out
    return random_loss(out)


def attached_for_the_forward(network, mix):
    detach(network)
    with trace(network, mix):
        traced = loss(network, mix.images)
    assert not hasattr(network, 'trace_context')
    (traced + loss(network, 1 - mix.images)).backward()


def clean_before(network, mix):
    clean = loss(network, 1 - mix.images)
    with trace(network, mix):
        traced = loss(network, mix.images)
    (traced + clean).backward()


def clean_after(network, mix):
    with trace(network, mix):
        traced = loss(network, mix.images)
    (traced + loss(network, 1 - mix.images)).backward()


def evaluated_between(network, mix):
    with trace(network, mix):
        traced = loss(network, mix.images)
    total = traced + loss(network, 1 - mix.images)
    with torch.no_grad(), trace(network, mix):
        network(mix.images)
    total.backward()


def backward_inside(network, mix):
    with trace(network, mix) as tracer:
        loss(network, mix.images).backward()
        assert tracer.seen == network.trace_context.attentions
    loss(network, 1 - mix.images).backward()


ORDERS = (
    attached_for_the_forward,
    clean_before,
    clean_after,
    evaluated_between,
    backward_inside,
)


@pytest.mark.parametrize('row', ROWS)
@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('reentrant', [False, True])
def test_gradients_are_those_of_the_stock_model(row, order, reentrant):
    mix, theirs, ours = mixed(row), copy.deepcopy(stock(row)), attached(row)
    (loss(theirs, mix.images) + loss(theirs, 1 - mix.images)).backward()
    for block in EVERY[row].blocks(ours):
        block.forward = checkpointed(block.forward, reentrant)
    order(ours, mix)
    wanted = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, wanted[name].grad, rtol=1e-3, atol=1e-5
        )


def checkpointed(forward, reentrant):
    def call(*args, **kwargs):
        return checkpoint(
            lambda *args: forward(*args, **kwargs), *args, use_reentrant=reentrant
        )

    return call


def test_after_a_trace_the_network_is_the_stock_one_again():
    """``torch.func`` rejects the function by which a share moves with the values."""
    mix, ours = mixed('timm ViT'), attached('timm ViT')
    parameters = {name: p.detach() for name, p in ours.named_parameters()}

    def step(parameters):
        features = torch.func.functional_call(ours, parameters, (mix.images,))
        return random_loss(features[-1])

    before = torch.func.grad(step)(parameters)
    run(ours, mix)
    after = torch.func.grad(step)(parameters)
    assert all(torch.equal(after[name], before[name]) for name in before)
