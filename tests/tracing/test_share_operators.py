"""Shares in compiled graphs, under checkpointing and in deterministic mode."""

import pytest
import timm_parts
import torch
from contract_steps import attached, mixed, random_loss
from dense_tracer import target

import mmtlalign
from mmtlalign.compat.torch_2_1 import ONE_GRAPH
from mmtlalign.tracing.kernels import dispatch
from mmtlalign.tracing.trace import MixTracer, trace_forward

needs_operators = pytest.mark.skipif(not ONE_GRAPH, reason='PyTorch before 2.5')


def parts(batch=2, heads=2, tokens=17, width=16):
    return [torch.randn(batch, heads, tokens, width) for _ in '12']


WINDOWS = [3, 4], [2, 2], [1, 1], True
CALLS = {
    'propagate': lambda: (*parts(), torch.rand(2, 17, 1), 0.25),
    'weigh_windows': lambda: (
        torch.rand(8, 2, 4, 4).softmax(-1),
        torch.rand(2, 12, 1),
        *WINDOWS,
        1.0,
    ),
    'class_rows': lambda: (*parts(), 2, 0.25),
    'received': lambda: (*parts(), torch.rand(1, 17), 0.25),
}
AVERAGED = (torch.randn(17, 17), torch.rand(2, 17, 1), 2.0)


@needs_operators
@pytest.mark.parametrize('name', CALLS)
def test_operators_keep_the_rules_of_pytorch(name):
    operator = getattr(torch.ops.mmtlalign, name).default
    torch.library.opcheck(operator, CALLS[name]())
    if name == 'propagate':
        torch.library.opcheck(operator, (*CALLS[name](), *AVERAGED))


@needs_operators
@pytest.mark.parametrize('name', CALLS)
def test_compiled_call_is_eager(name):
    function, call = getattr(dispatch, name), CALLS[name]()
    compiled = torch.compile(function, backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(compiled(*call), function(*call), rtol=0, atol=1e-6)


@needs_operators
def test_one_graph_serves_several_lengths():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    def step(query, key, share):
        return dispatch.propagate(query, key, share, 0.25, None, share)

    compiled = torch.compile(step, backend=backend, fullgraph=True, dynamic=True)
    for tokens in (17, 23, 40):
        call = (*parts(tokens=tokens), torch.rand(2, tokens, 1))
        torch.testing.assert_close(compiled(*call), step(*call), rtol=0, atol=0)
    assert len(graphs) == 1


def traced(row, backbone, run, half):
    """Share, features and gradients of a step."""
    mix = mixed(row)
    tracer = MixTracer(backbone, mix)
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        with trace_forward(backbone, tracer):
            out = run(mix.images)[-1]
    out = out if isinstance(out, torch.Tensor) else out[0]
    backbone.zero_grad()
    random_loss(out).backward()
    gradients = [p.grad for p in backbone.parameters() if p.grad is not None]
    assert not tracer.share.requires_grad
    return [tracer.share, out, *gradients]


@needs_operators
@pytest.mark.parametrize(
    ('row', 'half'),
    [
        ('ViT', True),
        pytest.param('ViT', False, marks=pytest.mark.slow),
        pytest.param('Swin', True, marks=pytest.mark.slow),
        pytest.param('PVT', True, marks=pytest.mark.slow),
    ],
)
def test_traced_step_is_one_graph(row, half):
    torch._dynamo.reset()
    backbone = attached(row)
    compiled = torch.compile(backbone, backend='aot_eager', fullgraph=True)
    found = traced(row, backbone, compiled, half)
    for ours, eager in zip(found, traced(row, backbone, backbone, half), strict=True):
        torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-6)


@needs_operators
@pytest.mark.parametrize('half', [False, True])
def test_share_moves_with_the_values_in_a_compiled_graph(half, monkeypatch):
    torch._dynamo.reset()
    calls = []
    separate = dispatch.plain.propagate

    def counted(*arguments):
        calls.append('separate')
        return separate(*arguments)

    monkeypatch.setattr(dispatch.plain, 'propagate', counted)
    backbone = attached('ViT')
    compiled = torch.compile(backbone, backend='aot_eager', fullgraph=True)
    traced('ViT', backbone, compiled, half)
    assert not calls


@pytest.mark.parametrize('half', [False, True])
def test_checkpointing_leaves_share_and_gradients(half):
    row = 'ViT'
    plain = attached(row)
    found = []
    for checkpointed in (False, True):
        backbone = attached(row)
        backbone.load_state_dict(plain.state_dict())
        if checkpointed:
            for layer in backbone.layers:
                layer.forward = checkpoint(layer.forward)
        found.append(traced(row, backbone, backbone, half))
    for kept, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(recomputed, kept, rtol=0, atol=0)


@pytest.mark.parametrize('name', ['mean', 'pvt'])
def test_checkpointing_leaves_received_attention(name):
    found, mix = [], timm_parts.mixed()
    for checkpointed in (False, True):
        network = timm_parts.bare(timm_parts.SMALL[name])
        network.set_grad_checkpointing(checkpointed)
        with mmtlalign.trace_attention(network, mix) as trace:
            out = network(mix.images)
        random_loss(out).backward()
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        found.append([trace.target(), out, *grads])
    for kept, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(recomputed, kept, rtol=0, atol=0)


def checkpoint(forward):
    def run(*args):
        return torch.utils.checkpoint.checkpoint(forward, *args, use_reentrant=False)

    return run


@pytest.mark.parametrize('row', ['ViT', 'Swin'])
def test_deterministic_mode(row):
    expected = target(row, torch.bfloat16)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(target(row, torch.bfloat16), expected)
    finally:
        torch.use_deterministic_algorithms(False)
