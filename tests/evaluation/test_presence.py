"""Contribution and presence: of matrices, of a convolution, of networks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from contract_rows import HOOKS, ROWS
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import MODELS, init_default_scope
from oracles import dense_events, dense_rollout
from small_backbones import vit

from mmtlalign.errors import InputError
from mmtlalign.evaluation.presence import (
    accumulated_presence,
    contribution,
    convolution_presence,
    layer_presence,
    presence,
    summarise,
)
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.tracing.attach import attach, detach
from mmtlalign.tracing.trace import start_share, trace

KINDS = ['ViT', 'Swin', 'Swin, padded window shifts', 'PVT', 'DHVT', 'timm ViT']


def built(name):
    init_default_scope('mmpretrain')
    row = ROWS[name]
    backbone = MODELS.build(dict(row.config))
    backbone.eval()
    return backbone, torch.randn(2, 3, *row.size)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**31 - 1))
def test_presence_sums_to_the_outputs(outputs, inputs, seed):
    weights = torch.randn(
        outputs, inputs, generator=torch.Generator().manual_seed(seed)
    )
    shares = contribution(weights.double())
    torch.testing.assert_close(shares.sum(1), torch.ones(outputs).double())
    assert (shares >= 0).all()
    assert presence(weights.double()).sum().item() == pytest.approx(outputs)


def test_a_convolution_is_a_matrix():
    kernel, grid = torch.randn(3, 5), (6, 11)
    columns = F.conv2d(
        torch.eye(66).view(66, 1, *grid), kernel[None, None], padding=(1, 2)
    )
    matrix = columns.flatten(1).T  # output, input
    ours = convolution_presence(kernel, grid)
    torch.testing.assert_close(ours.flatten(), presence(matrix))


def test_a_convolution_keeps_every_inner_token():
    ours = convolution_presence(torch.randn(8, 4, 3, 3).double(), (9, 10))
    torch.testing.assert_close(ours[2:-2, 2:-2], torch.ones(5, 6).double())
    # One step from the border some readers have less to read.
    assert (convolution_presence(torch.ones(3, 3), (9, 10))[1, 2:-2] > 1.0).all()
    assert (ours[:2] - 1).abs().min() > 1e-6
    assert ours.sum().item() == pytest.approx(90)
    with pytest.raises(InputError, match='odd kh and kw'):
        convolution_presence(torch.ones(2, 2), (4, 4))


@pytest.mark.parametrize('name', KINDS)
def test_layers_equal_the_dense_attention(name):
    backbone, images = built(name)
    events = dense_events(backbone, images, HOOKS)
    moves = [event for event in events if event[0] in ('attention', 'layer')]
    ours = layer_presence(backbone, images, chunk=23)
    assert len(ours) == len(moves)
    for step, (kind, matrix) in zip(ours, moves):
        if kind == 'layer':  # the residual is in it
            matrix = 2 * matrix - torch.eye(matrix.shape[-1])
        expected = matrix.expand(2, *matrix.shape[-2:]).sum(-2).float()
        torch.testing.assert_close(step.presence, expected)
        assert step.outputs == matrix.shape[-2]
        assert step.presence.sum(1).tolist() == pytest.approx([step.outputs] * 2)


@pytest.mark.parametrize('name', KINDS)
def test_chain_equals_the_dense_rollout(name):
    backbone, images = built(name)
    history, _ = dense_rollout(backbone, images, HOOKS)
    ours = accumulated_presence(backbone, images, chunk=30)
    assert len(ours) == len(history)
    for step, way in zip(ours, history):
        expected = way.expand(2, *way.shape[-2:]).sum(-2).float()
        torch.testing.assert_close(step.presence, expected, rtol=1e-5, atol=1e-5)
        assert step.outputs == way.shape[-2]
        torch.testing.assert_close(step.mean_one().mean(1), torch.ones(2))
        assert step.maps().shape[1:] == step.grid


def test_a_head_knows_the_output_of_a_backbone_that_gives_all_tokens():
    """As in SMMix and Token Labeling."""
    backbone, images = built('ViT')
    expected = accumulated_presence(backbone, images)
    backbone.out_type = 'raw'
    with pytest.raises(InputError, match="out_type='raw': no share can be read"):
        accumulated_presence(backbone, images)
    model = torch.nn.Module()
    model.backbone, model.head = backbone, torch.nn.Identity()
    model.head.output = 'class'
    model.eval()
    for step, before in zip(accumulated_presence(model, images), expected):
        assert torch.equal(step.presence, before.presence)
        assert torch.equal(step.output_row, before.output_row)


@pytest.mark.parametrize('name', KINDS)
def test_aligned_share_is_the_area_weighted_by_presence(name):
    backbone, images = built(name)
    mix = CutMix().mix(images, torch.eye(2))
    attach(backbone)
    start = start_share(backbone, mix)[..., 0]
    detach(backbone)
    with trace(backbone, mix) as traced, torch.no_grad():
        backbone(mix.images)
    last = accumulated_presence(backbone, mix.images)[-1]
    mean = (last.presence * start).sum(1) / last.outputs
    torch.testing.assert_close(mean, traced.history[-1][..., 0].mean(1))
    share = (last.output_row * start).sum(1)
    torch.testing.assert_close(share, traced.partner_shares()[0])


def test_presence_is_the_gradient_of_the_output_shares():
    weights = torch.randn(3, 2, 7, 7).double().softmax(-1).mean(1)
    start = torch.rand(7, dtype=torch.float64, requires_grad=True)
    share = start
    chain = torch.eye(7, dtype=torch.float64)
    for layer in weights:
        share, chain = (share + layer @ share) / 2, (chain + layer @ chain) / 2
    (gradient,) = torch.autograd.grad(share.sum(), start)
    torch.testing.assert_close(presence(chain), gradient)


def test_summary():
    figures = summarise(torch.tensor([[0.25, 0.75, 1.0, 2.5, 0.5]]))
    assert figures['min'] == 0.25 and figures['max'] == 2.5
    assert figures['below_half'] == figures['above_two'] == pytest.approx(0.2)
    assert figures['std'] == pytest.approx(np.std([0.25, 0.75, 1, 2.5, 0.5], ddof=1))


def test_training_mode_and_chunks_are_refused():
    with pytest.raises(InputError, match=r'call model.eval\(\) first'):
        layer_presence(vit().train() or vit(), torch.zeros(1, 3, 32, 32))
    with pytest.raises(InputError, match='tokens followed at a time, 1 or more'):
        layer_presence(vit(), torch.zeros(1, 3, 32, 32), chunk=0)
