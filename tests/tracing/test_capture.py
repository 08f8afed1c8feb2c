"""Attention inside of a host's forward: read by a hook, without intercepting calls."""

import copy
import os
import pickle
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from contract_steps import (
    attached,
    every_row,
    flat,
    mixed,
    needs_autocast,
    plain,
    random_loss,
    run,
    stock,
)
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from mmtlalign.errors import TraceError
from mmtlalign.evaluation.attention_maps import AttentionKeeper
from mmtlalign.evaluation.readers import StepTracer
from mmtlalign.tracing import capture
from mmtlalign.tracing.attach import TraceContext, bare_model
from mmtlalign.tracing.attention_readers import ReceivedAttention
from mmtlalign.tracing.trace import trace
from mmtlalign.tracing.tracer import Tracer

# Rows of the contract with attentions that are computed inside of a forward, by the
# class of these attentions.
CAPTURED = {
    'BEiT': 'BEiTAttention',
    'EVA-02': 'AttentionWithRoPE',
    'HiViT': 'Attention',
    'MixMIM': 'MixMIMWindowAttention',
    'SVT': 'LocallyGroupedSelfAttention',
    'XCiT': 'ClassAttntion',
    'timm BEiT': 'Attention',
    'timm EVA-02': 'EvaAttention',
    'timm PVT v2': 'Attention',
    'timm Swin': 'WindowAttention',
    'timm Swin v2': 'WindowAttention',
    'timm ViT': 'Attention',
    'timm ViT, parallel blocks': 'ParallelScalingBlock',
}


def captured(backbone):
    return {type(m).captured for m in backbone.modules() if hasattr(m, 'captured')}


@every_row
def test_no_network_of_a_host_has_its_calls_intercepted(row):
    classes = captured(attached(row))
    assert not any(
        issubclass(capture.capturing(cls), capture._Intercepting) for cls in classes
    )
    if row in CAPTURED:
        assert {cls.__name__ for cls in classes} == {CAPTURED[row]}


class Operations(TorchDispatchMode):
    """Names of the operations that PyTorch runs."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def intercepted(monkeypatch):
    """Makes networks whose attention is read by intercepting; counts their calls."""
    calls = []
    mode = capture._AttentionCalls.__torch_function__

    def count(self, func, *args, **kwargs):
        calls.append(func)
        return mode(self, func, *args, **kwargs)

    def make(row):
        with monkeypatch.context() as changed:
            changed.setattr(capture, 'forward_with_hook', lambda *args: None)
            capture._capturing.cache_clear()
            try:
                return attached(row)
            finally:
                capture._capturing.cache_clear()

    monkeypatch.setattr(capture._AttentionCalls, '__torch_function__', count)
    make.calls = calls
    return make


@pytest.mark.parametrize('row', CAPTURED)
@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
def test_hooked_and_intercepted_forwards_are_equal_to_the_bit(row, dtype, intercepted):
    if dtype is not None:
        needs_autocast(row, dtype)
    mix, found = mixed(row), []
    for network in (attached(row), intercepted(row)):
        assert not intercepted.calls
        with Operations() as operations:
            with torch.autocast('cpu', dtype, enabled=dtype is not None):
                out, tracer = run(network, mix)
            random_loss(out).backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        found.append((operations.names, [out, *tracer.history, *gradients]))
    assert len(intercepted.calls) > 4 * tracer.seen
    (names, ours), (theirs_names, theirs) = found
    assert names == theirs_names
    assert all(map(torch.equal, ours, theirs)) and len(ours) == len(theirs)


class Plain(nn.Module):
    """One head, four tokens."""

    def forward(self, x, factor=1.0, *, shift=0.0):
        weights = torch.softmax(factor * x @ x.mT + shift, dim=-1)
        return weights @ x


class Fused(Plain):
    def forward(self, x):
        x = x[:, None]
        return F.scaled_dot_product_attention(x, x, x, scale=1.0)[:, 0]


class Calling(Plain):
    """Its attention is another function's: nothing to hook in its own forward."""

    def forward(self, x):
        return attend(x)


class Inherited(Plain):
    def forward(self, x):
        return super().forward(x)


class Decorated(Plain):
    @torch.no_grad()
    def forward(self, x):
        return (x @ x.mT).softmax(-1) @ x


def attend(x):
    return (x @ x.mT).softmax(-1) @ x


def from_text():
    names = dict(Plain=Plain)
    exec(
        'class Typed(Plain):\n'
        '    def forward(self, x): return (x @ x.mT).softmax(-1) @ x\n',
        names,
    )
    return names['Typed']


def over_closure():
    factor = 1.0

    class Closure(Plain):
        def forward(self, x):
            return (factor * x @ x.mT).softmax(-1) @ x

    return Closure


@pytest.mark.parametrize(
    ('cls', 'hooked'),
    [
        (Plain, True),
        (Fused, True),
        (Calling, False),
        (Inherited, False),
        (Decorated, False),
        (from_text(), False),
        (over_closure(), False),
    ],
)
def test_what_cannot_be_compiled_again_is_intercepted(cls, hooked):
    assert issubclass(capture.capturing(cls), capture._Intercepting) is not hooked
    module, context = cls(), TraceContext()
    context.capture(module)
    x = torch.randn(2, 4, 8)
    tracer = context.reader = Tracer(torch.eye(4).repeat(2, 1, 1), (2, 2), 0, 1)
    weights = (x @ x.mT).softmax(-1)
    if cls is not Fused:
        # One head: the weights have no axis for heads, unlike a host's.
        tracer.weigh = lambda w: tracer.move_share(w)
    torch.testing.assert_close(module(x), weights @ x)
    torch.testing.assert_close(tracer.share, (torch.eye(4) + weights) / 2)
    context.reader = None
    torch.testing.assert_close(module(x), weights @ x)
    assert tracer.seen == 1
    while context.undo:
        context.undo.pop()()
    assert type(module) is cls and not vars(module).keys() & {'attention_hook'}


class Gated(Fused):
    """It gates its output by a softmax that is no attention."""

    def forward(self, x):
        x = x[:, None]
        gate = x.mean((1, 2)).softmax(-1)
        return F.scaled_dot_product_attention(x, x, x)[:, 0] * gate[:, None]


def test_a_softmax_that_is_no_attention_is_refused():
    module, context = Gated(), TraceContext()
    context.capture(module)
    readers = (
        Tracer(torch.rand(2, 4, 1), (2, 2), 0, 1),
        StepTracer(torch.rand(2, 4, 1), (2, 2), 0, 1),
        AttentionKeeper((2, 2), 0),
        ReceivedAttention(torch.rand(2, 4), (2, 2), 0, 1),
    )
    for context.reader in readers:
        with pytest.raises(
            TraceError, match=r'\(2, 8\).*\(..., heads, queries, keys\)'
        ):
            module(torch.randn(2, 4, 8))


def test_a_hooked_forward_is_the_stock_one_in_every_other_respect():
    ours, theirs = capture.capturing(Plain).forward, Plain.forward
    for name in ('__defaults__', '__kwdefaults__', '__globals__', '__name__'):
        assert getattr(ours, name) == getattr(theirs, name)
    for name in ('co_filename', 'co_firstlineno', 'co_varnames', 'co_flags'):
        assert getattr(ours.__code__, name) == getattr(theirs.__code__, name)
    assert {line for *_, line in theirs.__code__.co_lines()} == {
        line for *_, line in ours.__code__.co_lines()
    }


def test_a_softmax_or_a_function_of_another_name_is_left_alone():
    class Gated(Plain):
        def forward(self, x):
            F = self  # hides the functions of this name
            return F.scaled_dot_product_attention(x)

        def scaled_dot_product_attention(self, x):
            return x

    assert capture.forward_with_hook(Gated, Gated.forward) is None


def test_a_forward_that_is_replaced_later_counts_for_networks_built_later(monkeypatch):
    first = capture.capturing(Plain)
    monkeypatch.setattr(Plain, 'forward', Decorated.forward)
    second = capture.capturing(Plain)
    assert first is not second
    assert issubclass(second, capture._Intercepting)


def test_other_processes_read_what_was_pickled(tmp_path):
    """As workers that are spawned do."""
    backbone, mix = attached('timm ViT'), mixed('timm ViT')
    _, tracer = run(backbone, mix)
    (tmp_path / 'file').write_bytes(pickle.dumps((backbone, mix, tracer.share)))
    code = (
        'import pickle, sys, torch\n'
        'from mmtlalign.tracing.trace import trace\n'
        'backbone, mix, share = pickle.load(open(sys.argv[1], "rb"))\n'
        'torch.manual_seed(5)\n'
        'with trace(backbone, mix) as found: backbone(mix.images)\n'
        'assert torch.equal(found.share, share)\n'
    )
    command = [sys.executable, '-c', code, str(tmp_path / 'file')]
    subprocess.run(command, check=True, env=dict(os.environ))


@pytest.fixture
def group(tmp_path):
    """A process group of this process alone."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('row', ['Swin', 'timm ViT', 'timm Swin'])
def test_two_runs_and_distributed_ones_are_equal_to_the_bit(row, group):
    """With gradient, under PyTorch's deterministic algorithms."""
    mix, found = mixed(row), []
    torch.use_deterministic_algorithms(True)
    try:
        for wrap in (nn.Identity, nn.Identity, DistributedDataParallel):
            network = copy.deepcopy(attached(row))
            outer = wrap(network) if wrap is DistributedDataParallel else network
            assert bare_model(outer) is network
            out, tracer = run(network, mix) if outer is network else _run(outer, mix)
            random_loss(out).backward()
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            found.append([out, *tracer.history, *gradients])
    finally:
        torch.use_deterministic_algorithms(False)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other)) and len(other) == len(found[0])


def _run(outer, mix):
    torch.manual_seed(5)
    with trace(outer, mix) as tracer:
        out = outer(mix.images)
    return flat(out), tracer


@pytest.mark.parametrize('row', ['timm ViT', 'timm Swin', 'BEiT'])
def test_an_attached_network_without_a_reader_runs_the_stock_operations(row):
    mix, names = mixed(row), []
    for network in (attached(row), copy.deepcopy(stock(row))):
        with Operations() as operations:
            random_loss(plain(network, mix.images)).backward()
        names.append(operations.names)
    assert names[0] == names[1]
