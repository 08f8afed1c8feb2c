"""Labels that follow learnt weights: the rules, and what is refused."""

import copy

import numpy as np
import pytest
import torch
from contract_rows import EVERY
from contract_rows.learnt_weights import MIXER, timm
from contract_steps import attached, mixed, run, stock
from mmengine.registry import MODELS, init_default_scope
from timm.layers import GatedMlp
from timm.models.mlp_mixer import SpatialGatingBlock
from torch import nn

import mmtlalign
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.learnt_weights import (
    RULES,
    gates_of,
    move_by_kernel,
    move_by_layers,
)

LEARNT = [name for name, row in EVERY.items() if row.learnt_weights]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def classifier(method, backbone, **options):
    return MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=copy.deepcopy(backbone),
            neck=dict(type='GlobalAveragePooling', dim=1),
            head=dict(
                type=f'mmtlalign.{method}LinearClsHead',
                num_classes=5,
                in_channels=16,
                loss=dict(type='CrossEntropyLoss', use_soft=True),
                **options,
            ),
            train_cfg=dict(augments=dict(type='mmtlalign.CutMix')),
        )
    )


@pytest.mark.parametrize(
    'activation', [nn.GELU(), nn.ReLU(inplace=True), nn.SiLU(), nn.Hardswish()]
)
def test_gates_times_input_are_the_output(activation):
    before = torch.cat([torch.randn(50), torch.tensor([0.0, -1e-8, 1e-30, 40, -40])])
    kept = before.clone()
    gates = gates_of(activation, before)
    assert torch.equal(before, kept)
    torch.testing.assert_close(gates * before, activation(before.clone()))
    assert gates.isfinite().all()


def test_weights_like_the_identity_leave_shares_where_they_are():
    share = torch.rand(2, 5, 3)
    torch.testing.assert_close(move_by_layers(share, -3 * torch.eye(5)), share)
    kernel = torch.zeros(4, 1, 3, 3)
    kernel[:, 0, 1, 1] = torch.tensor([1.0, -2, 3, -4])
    moved = move_by_kernel(torch.rand(2, 6, 1), (2, 3), kernel, (1, 1, 1, 1))
    torch.testing.assert_close(moved, move_by_kernel(moved, (2, 3), kernel, (1,) * 4))


def test_a_token_without_weights_keeps_its_share():
    weights = torch.rand(5, 5)
    weights[2] = 0
    share = torch.rand(1, 5, 1)
    moved = move_by_layers(share, weights)
    assert torch.equal(moved[:, 2], share[:, 2])
    dead = move_by_layers(share, weights, torch.rand(5, 5), torch.zeros(1, 5))
    assert torch.equal(dead, share)


def test_a_token_keeps_its_share_in_a_channel_without_weights():
    share, kernel = torch.rand(2, 6, 1), torch.randn(4, 1, 3, 3)
    kernel[1] = 0
    moved = move_by_kernel(share, (2, 3), kernel, (1, 1, 1, 1))
    others = move_by_kernel(share, (2, 3), kernel[[0, 2, 3]], (1, 1, 1, 1))
    torch.testing.assert_close(moved, (3 * others + share) / 4)
    # The only weight is outside of the map for the tokens of the first row.
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[..., 0, 1] = -2
    moved = move_by_kernel(share, (2, 3), kernel, (1, 1, 1, 1))
    torch.testing.assert_close(moved, share[:, [0, 1, 2, 0, 1, 2]])


def test_many_tokens_are_moved_block_by_block_alike():
    share, weights = torch.rand(1, 150, 2), torch.randn(150, 150)
    matrix = weights.abs() / weights.abs().sum(1, keepdim=True)
    torch.testing.assert_close(move_by_layers(share, weights), matrix @ share)


def test_mean_gates_are_nearer_to_the_exact_rule_than_none():
    """Of the share of every token; that of the whole image hardly moves."""
    mix, shares = mixed('MLP-Mixer'), {}
    for rule in RULES:
        backbone = copy.deepcopy(stock('MLP-Mixer'))
        attach(backbone, rule)
        shares[rule] = run(backbone, mix)[1].share
    off = {
        rule: (shares[rule] - shares['exact']).square().mean().sqrt() for rule in RULES
    }
    assert 0 < off['mean_gates'] < off['no_gates']


@pytest.mark.parametrize('row', LEARNT)
def test_options_of_the_tracer_apply(row):
    mix, backbone = mixed(row), attached(row)
    _, none = run(backbone, mix, layers=[0])
    _, twice = run(backbone, mix, layers=[0], residual=3)
    start = mmtlalign.tracing.start_share(backbone, mix)
    alone = run(backbone, mix, layers=[0], residual=False)[1].history[0]
    torch.testing.assert_close(none.history[0], (start + alone) / 2)
    torch.testing.assert_close(twice.history[0], (3 * start + alone) / 4)
    # Behind the first layer nothing moves, but tokens may merge.
    assert (none.history[1].mean() - none.history[0].mean()).abs() < 0.05


@pytest.mark.parametrize('rule', RULES)
def test_a_classifier_learns_what_arrives(rule):
    model = classifier('TLAlign', MIXER, learnt_weights=rule)
    images, labels = torch.randn(4, 3, 32, 32), torch.eye(5)[:4]
    np.random.seed(2)
    mix = CutMix().mix(images, labels)
    with model.head.trace(model.backbone, mix) as trace:
        feats = model.extract_feat(mix.images)
    (share,) = model.head.partner_shares(mix, trace)
    assert (share - mix.area()).abs().max() > 1e-5
    loss = model.head.loss(feats, None, mix, trace)['loss']
    loss.backward()
    assert all(p.grad is not None for p in model.backbone.parameters())


@pytest.mark.parametrize('backbone', [MIXER, EVERY['ConvNeXt'].config, timm()])
@pytest.mark.parametrize('method', ['TLAlign', 'TransMix'])
def test_refused_without_a_rule(backbone, method):
    options = {} if method == 'TLAlign' else dict(attention='received')
    with pytest.raises(
        TypeError,
        match="a rule of this package that is in no paper .*learnt_weights='m",
    ):
        classifier(method, backbone, **options)


def test_attention_of_a_network_without_any_cannot_be_read():
    from mmtlalign.tracing.attention_readers import attention_reader
    from mmtlalign.tracing.trace import trace_forward

    backbone, mix = attached('MLP-Mixer'), mixed('MLP-Mixer')
    reader = attention_reader(backbone, mix, 'received')
    with pytest.raises(TypeError, match='no attention that could be read'):
        with trace_forward(backbone, reader):
            backbone(mix.images)


def test_rules_that_do_not_fit():
    with pytest.raises(ValueError, match=r"learnt_weights='all': choose one of mean_"):
        classifier('TLAlign', MIXER, learnt_weights='all')
    with pytest.raises(ValueError, match='VisionTransformer has it: leave it out'):
        attach(copy.deepcopy(stock('ViT')), 'exact')
    deep = copy.deepcopy(MIXER)
    deep['layer_cfgs'] = dict(num_fcs=3)
    with pytest.raises(TypeError, match='3 layers over its tokens'):
        attach(MODELS.build(deep), 'exact')
    mixer = MODELS.build(timm())
    mixer.blocks[0].mlp_tokens = nn.Identity()
    with pytest.raises(TypeError, match='with a Identity over its tokens'):
        attach(mixer, 'exact')


def test_gmlp_is_refused_with_its_own_reason():
    gated = MODELS.build(
        timm(block_layer=SpatialGatingBlock, mlp_layer=GatedMlp, mlp_ratio=2)
    )
    with pytest.raises(
        TypeError, match='gMLP.*a product cannot be divided into shares'
    ):
        attach(gated, 'mean_gates')


def test_outputs_that_are_not_the_last():
    early = dict(EVERY['ConvNeXt'].config, out_indices=[0, 1])
    with pytest.raises(ValueError, match='must be 3'):
        classifier('TLAlign', early, learnt_weights='no_gates')


def test_another_rule_needs_to_be_attached_anew():
    mixer = MODELS.build(MIXER)
    attach(mixer, 'mean_gates')
    attach(mixer)
    with pytest.raises(ValueError, match="attached with 'mean_gates'; call"):
        attach(mixer, 'exact')
    mmtlalign.detach(mixer)
    attach(mixer, 'exact')
