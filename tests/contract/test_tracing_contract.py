"""What tracing promises for every backbone: one row a backbone, one test a rule."""

import copy
import dataclasses
import functools

import oracles
import pytest
import torch
from contract_rows import EVERY, HOOKS
from contract_rows.mmpretrain_vit import VIT
from contract_steps import (
    attached,
    every_traced_row,
    flat,
    mixed,
    needs_autocast,
    plain,
    random_loss,
    run,
    stock,
)
from mmengine.registry import MODELS, init_default_scope
from torch.utils.checkpoint import checkpoint

from mmtlalign.compat.torch_2_1 import ONE_GRAPH
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.kernels import value_channels
from mmtlalign.tracing.support import backbone_spec
from mmtlalign.tracing.trace import MixTracer, trace_forward
from mmtlalign.tracing.tracer import Tracer


@every_traced_row
def test_state_dict_and_class_are_the_stock_ones(row):
    ours, theirs = attached(row), stock(row)
    assert type(ours) is type(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[key])


@pytest.mark.parametrize('row', [row for row in EVERY if 'of mmdet' not in row])
def test_reading_changes_no_bit_where_nothing_rides(row, monkeypatch):
    monkeypatch.setattr(value_channels, '_BACKWARD', None)  # as on a GPU
    mix = mixed(row)
    expected = plain(copy.deepcopy(stock(row)), mix.images)
    out, _ = run(attached(row), mix)
    assert torch.equal(out, expected)


@every_traced_row
def test_outputs_and_gradients_are_the_stock_ones(row):
    mix = mixed(row)
    theirs = copy.deepcopy(stock(row))
    expected = plain(theirs, mix.images)
    random_loss(expected).backward()
    ours = attached(row)
    torch.testing.assert_close(plain(ours, mix.images), expected, rtol=1e-4, atol=1e-5)
    out, _ = run(ours, mix)
    # Reading changes nothing but the rounding: where the share rides in the network's
    # own call, and in mmdet's PVT, which is given the fused kernel.
    scale, tolerance = expected.abs().max(), 1e-5 if 'of mmdet' in row else 5e-6
    torch.testing.assert_close(out / scale, expected / scale, rtol=0, atol=tolerance)
    random_loss(out).backward()
    for name, parameter in ours.named_parameters():
        golden = theirs.get_parameter(name).grad
        if golden is not None:
            scale = golden.abs().max().clamp(min=1)
            assert ((parameter.grad - golden) / scale).abs().max() < 1e-4, name


@every_traced_row
def test_shares_equal_the_oracle_for_every_token_of_every_layer(row):
    mix, backbone = mixed(row), attached(row)
    _, tracer = run(backbone, mix)
    torch.manual_seed(5)  # the same dropout
    history, way = oracles.dense_rollout(stock(row), mix.images, HOOKS)
    prefix = backbone_spec(stock(row)).prefix(stock(row))
    begin = oracles.start(
        mix.mask, EVERY[row].patch, prefix, len(mix.images), EVERY[row].cut
    )
    assert len(history) == len(tracer.history) == tracer.seen
    for ours, matrix in zip(tracer.history, history):
        torch.testing.assert_close(ours.double(), matrix @ begin, rtol=0, atol=2e-6)
    torch.testing.assert_close(tracer.share.double(), way @ begin, rtol=0, atol=2e-6)
    # The batch must tell a tracer that does nothing from one that works.
    assert (tracer.history[-1] - tracer.history[0].mean()).abs().max() > 1e-3


@pytest.mark.parametrize(
    ('row', 'options', 'parts'),
    [
        ('LV-ViT', {}, 1),
        ('Swin', {}, 1),
        ('DHVT', {}, 1),
        ('DHVT', dict(head_token_rule='flat'), 2),
    ],
)
@pytest.mark.parametrize('residual', [0, 0.5, 1, 2.0])
def test_residuals_of_any_weight_equal_the_oracle(row, options, parts, residual):
    mix, backbone = mixed(row), attached(row)
    _, tracer = run(backbone, mix, residual=residual, **options)
    history, _ = oracles.dense_rollout(stock(row), mix.images, HOOKS, residual, parts)
    prefix = backbone_spec(backbone).prefix(backbone)
    begin = oracles.start(mix.mask, EVERY[row].patch, prefix, len(mix.images))
    for ours, matrix in zip(tracer.history, history):
        torch.testing.assert_close(ours.double(), matrix @ begin, rtol=0, atol=2e-6)


def test_default_residual_is_the_plain_mean_to_the_bit():
    mix, backbone = mixed('ViT'), attached('ViT')
    _, alone = run(backbone, mix, residual=False, layers=[0])
    _, tracer = run(backbone, mix, layers=[0])
    before = MixTracer(backbone, mix).share
    assert tracer.share.equal((before + alone.share) / 2)
    assert run(backbone, mix, residual=1, layers=[0])[1].share.equal(tracer.share)


@pytest.mark.parametrize('residual', [-1, float('nan'), float('inf'), None, 'plain'])
def test_residuals_that_are_no_weight(residual):
    with pytest.raises(ValueError, match=r'residual=.* a number of 0 or more'):
        MixTracer(attached('ViT'), mixed('ViT'), residual=residual)


@every_traced_row
def test_identity_gives_rows_that_sum_to_one(row):
    mix, backbone = mixed(row), attached(row)
    first = MixTracer(backbone, mix)
    eye = torch.eye(first.share.shape[1]).expand(len(mix.images), -1, -1)
    tracer = Tracer(eye, first.grid, first.prefix, backbone.trace_context.attentions)
    with trace_forward(backbone, tracer):
        backbone(mix.images)
    for share in tracer.history:
        torch.testing.assert_close(
            share.sum(-1), torch.ones(share.shape[:2]), rtol=0, atol=1e-5
        )
        assert share.min() >= -1e-6


@every_traced_row
def test_constant_share_stays_constant(row):
    mix, backbone = mixed(row), attached(row)
    mix = Mix(mix.images, mix.labels, mix.partner, torch.full_like(mix.mask, 0.3))
    _, tracer = run(backbone, mix)
    for share in tracer.history:
        assert (share - 0.3).abs().max() < 1e-6


@every_traced_row
def test_share_is_float32_and_has_no_gradient(row):
    mix, backbone = mixed(row), attached(row)
    needs_autocast(row, torch.bfloat16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        _, tracer = run(backbone, mix)
    assert {s.dtype for s in tracer.history} == {torch.float32}
    assert not any(s.requires_grad for s in tracer.history)
    exact = run(backbone, mix)[1]
    # The attention itself is rounded under autocast; the shares are not again.
    assert (tracer.share - exact.share).abs().max() < 2e-2
    assert all(s.min() >= 0 and s.max() <= 1 + 1e-6 for s in tracer.history)


@every_traced_row
def test_exception_leaves_no_tracer_behind(row):
    mix, backbone = mixed(row), attached(row)
    with (
        pytest.raises(ZeroDivisionError),
        trace_forward(backbone, MixTracer(backbone, mix)),
    ):
        backbone(mix.images)
        raise ZeroDivisionError
    assert backbone.trace_context.reader is None
    run(backbone, mix)


@every_traced_row
@pytest.mark.parametrize('reentrant', [True, False])
def test_checkpointing_changes_nothing(row, reentrant):
    mix, ours = mixed(row), attached(row)
    expected, before = run(ours, mix)
    random_loss(expected).backward()
    again = attached(row)
    for block in EVERY[row].blocks(again):
        block.forward = checkpointed(block.forward, reentrant)
    out, tracer = run(again, mix)
    torch.manual_seed(99)
    random_loss(out).backward()
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    assert len(tracer.history) == len(before.history)
    torch.testing.assert_close(tracer.share, before.share, rtol=0, atol=1e-6)
    for name, parameter in again.named_parameters():
        golden = ours.get_parameter(name).grad
        if golden is not None:
            torch.testing.assert_close(parameter.grad, golden, rtol=1e-4, atol=1e-4)


def checkpointed(forward, reentrant):
    """Reentrant checkpoints take no keywords, and some blocks are given some."""

    def call(*args, **kwargs):
        bound = functools.partial(forward, **kwargs)
        return checkpoint(bound, *args, use_reentrant=reentrant)

    return call


@every_traced_row
def test_copies_are_independent(row):
    mix, backbone = mixed(row), attached(row)
    twin = copy.deepcopy(backbone)
    assert twin.trace_context is not backbone.trace_context
    with trace_forward(backbone, MixTracer(backbone, mix)) as tracer:
        twin(mix.images)
        assert tracer.seen == 0
        backbone(mix.images)
    _, other = run(twin, mix)
    assert other.seen == tracer.seen


@every_traced_row
def test_one_forward_exactly(row):
    mix, backbone = mixed(row), attached(row)
    with (
        pytest.raises(RuntimeError, match='exactly one forward'),
        trace_forward(backbone, MixTracer(backbone, mix)),
    ):
        pass


@every_traced_row
@pytest.mark.slow  # compiles every backbone
def test_compiles_as_one_graph_where_the_stock_model_does(row):
    if EVERY[row].same_graph:
        pytest.skip('the same graph as another row')
    # The whole way to the kernels for two of them, the graph alone for all.
    backend = 'aot_eager' if row in ('ViT', 'Swin') else 'eager'
    try:
        steps = compiled_steps(row, backend, fullgraph=ONE_GRAPH)
    except torch._dynamo.exc.Unsupported:
        torch._dynamo.reset()
        with pytest.raises(torch._dynamo.exc.Unsupported):
            torch.compile(copy.deepcopy(stock(row)), backend=backend, fullgraph=True)(
                mixed(row).images
            )
        steps = compiled_steps(row, backend, fullgraph=False)
    for mix, out, tracer in steps:
        expected, eager = run(attached(row), mix)
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(tracer.share, eager.share, rtol=0, atol=1e-6)


def compiled_steps(row, backend, fullgraph):
    """Steps of a compiled backbone: other shares and a new reader on the same graph."""
    torch._dynamo.reset()
    ours = attached(row)
    compiled = torch.compile(ours, backend=backend, fullgraph=fullgraph)
    first = mixed(row)
    steps = []
    for mix in (first, dataclasses.replace(first, mask=1 - first.mask)):
        torch.manual_seed(5)
        with trace_forward(ours, MixTracer(ours, mix)) as tracer:
            steps.append((mix, flat(compiled(mix.images)), tracer))
    return steps


@every_traced_row
def test_family_knows_the_output(row):
    backbone = stock(row)
    assert backbone_spec(backbone).output(backbone) == EVERY[row].output


def test_unknown_attention_is_refused_by_name():
    init_default_scope('mmpretrain')

    class OddAttention(torch.nn.Module):
        pass

    backbone = MODELS.build(copy.deepcopy(VIT))
    backbone.layers[1].attn = OddAttention()
    with pytest.raises(TypeError, match='layers.1.attn is a OddAttention.*register it'):
        attach(backbone)
    assert backbone.layers[0].attn.scaled_dot_product_attention is not None
    assert getattr(backbone, 'trace_context', None) is None


def test_unknown_backbone_is_refused_by_name():
    with pytest.raises(
        TypeError, match=r'nn\..*Linear cannot be traced.*list_backbones'
    ):
        attach(torch.nn.Linear(2, 2))


def test_qk_scale_is_refused():
    init_default_scope('mmpretrain')
    from mmpretrain.models.utils import MultiheadAttention

    backbone = MODELS.build(copy.deepcopy(VIT))
    backbone.layers[0].attn = MultiheadAttention(32, 2, qk_scale=0.25)
    with pytest.raises(TypeError, match='qk_scale'):
        attach(backbone)


@pytest.mark.parametrize('layers', [[3], [-4], []])
def test_layers_that_do_not_exist(layers):
    backbone = attached('ViT')
    with pytest.raises(ValueError, match='attentions 0 to 2'):
        MixTracer(backbone, mixed('ViT'), layers=layers)
