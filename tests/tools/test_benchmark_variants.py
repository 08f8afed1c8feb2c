"""What the benchmark compares does what it says; the reference has the same target."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmark_nets import DEIT, REFERENCE, SWIN, VIT
from contract_steps import trace_images
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS as BUILDERS
from mmengine.registry import init_default_scope
from torch._dynamo.utils import counters

from mmtlalign.fast.hooks import speed_up
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.tracing.support import backbone_spec
from tools.benchmarks.reference.tl_align import ReferenceTLAlign
from tools.benchmarks.step import steps, variants
from tools.benchmarks.step.models import MODELS
from tools.benchmarks.step.variants import OURS

STOCK_COMPILE = torch.compile


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def far_from_uniform(model):
    """Parameters that make each token attend to some more than to others."""
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15 if 'patch' in name else 0.25)
    for module in model.modules():
        if hasattr(module, 'drop_prob'):
            module.drop_prob = 0.0
    return model


@pytest.mark.parametrize('name', REFERENCE)
def test_reference_gives_the_fused_target_and_the_stock_output(name):
    network = REFERENCE[name]
    backbone = far_from_uniform(BUILDERS.build(network.config(network.size)))
    images = torch.randn(4, 3, network.size, network.size)
    mix = CutMix(pairing='random').mix(images, torch.eye(10)[torch.arange(4)])
    dense = copy.deepcopy(backbone)
    with torch.no_grad(), ReferenceTLAlign(dense).trace(mix) as traced:
        feats = dense(mix.images)[-1]
    tracer = trace_images(backbone, mix)
    output = backbone_spec(backbone).output(backbone)
    fused = mix.target(tracer.output_shares(output)[0])
    torch.testing.assert_close(traced.target(), fused, rtol=0, atol=1e-5)
    assert (fused - mix.target(mix.area())).abs().max() > 1e-3
    with torch.no_grad():
        stock = backbone(mix.images)[-1]
    torch.testing.assert_close(feats, stock, rtol=1e-4, atol=1e-4)


def case(**changes):
    usual = dict(measure='step', precision='fp32', attention='stock')
    return SimpleNamespace(**dict(usual, device='cpu', size=32) | changes)


def losses(network, names, monkeypatch, compiled=False, **changes):
    """Losses of the same weights with two boxes, one after the other, by variant."""
    for function in ('build', 'build_timm'):
        built = getattr(variants, function)

        def build(*args, built=built):
            return far_from_uniform(built(*args))

        monkeypatch.setattr(steps, function, build)
    batch, found = steps.Batch(4, network.size, 'cpu'), {}
    for name in names:
        setting = case(size=network.size, **changes)
        step = steps.make_step(network, name, batch, setting, compiled)
        found[name] = []
        for seed in (2, 3):
            np.random.seed(seed)
            torch.manual_seed(seed)
            batch.renew()
            found[name].append(step().item())
    return found


@pytest.mark.parametrize('network', [DEIT, SWIN])
def test_each_method_has_a_target_of_its_own(network, monkeypatch):
    names = ['mmpretrain', 'control', 'transmix', 'tlalign', 'dense']
    found = losses(network, names, monkeypatch)
    assert found['dense'] == pytest.approx(found['tlalign'], rel=1e-5)
    values = torch.tensor([found[name] for name in ('control', 'transmix', 'tlalign')])
    assert (values - values.roll(1, 0)).abs().min() > 1e-4


@pytest.mark.parametrize('kernel', ['fused', 'explicit'])
@pytest.mark.parametrize('network', [DEIT, SWIN])
def test_another_kernel_gives_the_same_losses(network, kernel, monkeypatch):
    stock = losses(network, OURS, monkeypatch)
    monkeypatch.setattr(
        steps, 'speed_up', lambda *args: changed.append(speed_up(*args))
    )
    changed = []
    other = losses(network, [*OURS, 'mmpretrain'], monkeypatch, attention=kernel)
    for name in OURS:
        assert other[name] == pytest.approx(stock[name], rel=1e-4)
    assert len(changed) == len(OURS) and min(changed) > 0


def test_compiled_steps_are_the_same_steps(monkeypatch):
    names = ['timm', 'mmpretrain', 'transmix', 'tlalign', 'dense']
    network = replace(DEIT, backbone=dict(DEIT.backbone, arch=VIT))
    eager = losses(network, names, monkeypatch)
    compiles = []

    def compile_(model):
        compiles.append(model)
        return STOCK_COMPILE(model, backend='eager')

    monkeypatch.setattr(torch, 'compile', compile_)
    torch.compiler.reset()
    counters.clear()
    compiled = losses(network, names, monkeypatch, compiled=True)
    for name in names:
        assert compiled[name] == pytest.approx(eager[name], rel=1e-5), name
    assert len(compiles) == len(names)
    assert counters['stats']['unique_graphs'] >= len(names)


def test_bf16_changes_the_loss_a_little(monkeypatch):
    exact = losses(DEIT, ['tlalign'], monkeypatch)['tlalign']
    rounded = losses(DEIT, ['tlalign'], monkeypatch, precision='bf16')['tlalign']
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize('name', ['timm', 'tlalign'])
def test_half_precision_is_scaled_in_training(name, monkeypatch):
    asked = []

    def wrapper(dtype, optimizer):
        # mmengine's insists on a GPU, and PyTorch 2.1 knows no float16 on a CPU.
        asked.append(dtype)
        assert not optimizer.defaults.get('fused')
        return steps.Autocast('cpu', torch.bfloat16, optimizer=optimizer)

    monkeypatch.setitem(steps.PRECISIONS, 'fp16', torch.bfloat16)
    monkeypatch.setattr(steps, 'AmpOptimWrapper', wrapper)
    monkeypatch.setattr(torch.cuda.amp, 'GradScaler', lambda: Scaler(asked))
    batch = steps.Batch(2, 32, 'cpu')
    setting = dict(precision='fp16', measure='train')
    step = steps.make_step(DEIT, name, batch, case(**setting))
    batch.renew()
    assert step().isfinite()
    assert asked == (['float16'] if name == 'tlalign' else ['scale', 'step', 'update'])


class Scaler:
    """Notes what is called."""

    def __init__(self, calls):
        self.calls = calls

    def scale(self, loss):
        self.calls.append('scale')
        return loss

    def step(self, optimizer):
        self.calls.append('step')
        optimizer.step()

    def update(self):
        self.calls.append('update')


@pytest.mark.parametrize('name', ['mmpretrain', 'timm'])
def test_plain_variants_learn_the_mixed_labels(name, monkeypatch):
    seen = []

    class Recorder(steps.SoftTargetCrossEntropy):
        def forward(self, scores, targets):
            seen.append(targets)
            return super().forward(scores, targets)

    monkeypatch.setattr(steps, 'SoftTargetCrossEntropy', Recorder)
    batch = steps.Batch(4, 32, 'cpu')
    step = steps.make_step(DEIT, name, batch, case())
    batch.renew()
    np.random.seed(3)
    step()
    if name == 'mmpretrain':
        seen.append(torch.stack([sample.gt_score for sample in batch.samples]))
    (targets,) = seen
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))
    assert (targets.max(dim=1).values < 1).any()
    assert (targets > 0).sum(dim=1).max() == 2


@pytest.mark.parametrize('name', ['timm', 'tlalign'])
@pytest.mark.parametrize('measure', ['step', 'train'])
def test_only_a_training_step_moves_parameters(name, measure, monkeypatch):
    kept = []
    for function in ('build', 'build_timm'):
        built = getattr(steps, function)

        def build(*args, built=built):
            kept.append(built(*args))
            return kept[-1]

        monkeypatch.setattr(steps, function, build)
    batch = steps.Batch(2, 32, 'cpu')
    step = steps.make_step(DEIT, name, batch, case(measure=measure))
    before = [parameter.clone() for parameter in kept[0].parameters()]
    batch.renew()
    step()
    same = [a.equal(b) for a, b in zip(before, kept[0].parameters())]
    assert all(same) == (measure == 'step')
    assert all(parameter.grad is None for parameter in kept[0].parameters())


@pytest.mark.parametrize('name', ['deit-tiny', 'swin-tiny'])
def test_both_hosts_have_the_same_network(name):
    network = MODELS[name]
    ours = variants.build(network, 'mmpretrain', network.size)
    theirs = variants.build_timm(network, network.size)
    shapes = [sorted(p.numel() for p in m.parameters()) for m in (ours, theirs)]
    assert shapes[0] == shapes[1]
    # Stochastic depth too.
    rates = [
        sorted(m.drop_prob for m in model.modules() if getattr(m, 'drop_prob', 0))
        for model in (ours, theirs)
    ]
    assert rates[0] == pytest.approx(rates[1])


def test_networks_without_a_variant():
    assert 'timm' not in variants.variants_of(MODELS['pvt-small'])
    assert 'dense' in variants.variants_of(MODELS['pvt-small'])
    assert 'dense' not in variants.variants_of(MODELS['t2t-vit-14'])


def test_moving_average_moves(monkeypatch):
    moved, stock = [], ExponentialMovingAverage.update_parameters

    def update(self, model):
        moved.append(model)
        stock(self, model)

    monkeypatch.setattr(ExponentialMovingAverage, 'update_parameters', update)
    for variant, times in dict(tlalign=0, ema=2).items():
        moved.clear()
        losses(DEIT, [variant], monkeypatch, measure='train')
        assert len(moved) == times
