"""PVT: numbers of the paper, dense use, attention, start values, messages."""

import copy
import subprocess
import sys

import pvt_reference
import pytest
import torch
from contract_rows.pvt import TINY
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from pvt_nets import ARCH, LAYERS, dense, mmdet_pvt, official, small, wide
from torch import nn

from mmtlalign.backbones.pvt import PVT
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.mixing.mix import Mix

PUBLISHED = {
    'tiny': 13_229_288,
    'small': 24_485_864,
    'medium': 44_208_104,
    'large': 61_369_320,
}


@pytest.mark.parametrize('arch', PUBLISHED)
def test_parameters_of_the_published_variants(arch):
    net = PVT(arch)
    found = sum(p.numel() for p in net.parameters()) + 512 * 1000 + 1000
    assert found == PUBLISHED[arch]
    assert found == pvt_reference.count_parameters(net.num_layers)
    line = next(row for row in PVT.__doc__.splitlines() if f"'{arch}'" in row)
    assert f'{found:,}' in line
    assert ', '.join(map(str, net.num_layers)) in line


@pytest.mark.parametrize('size', [(64, 64), (96, 64), (71, 101)])
def test_computes_what_was_published(size):
    net = wide()
    images = torch.randn(2, 3, *size)
    expected = pvt_reference.class_token(official(net), images, LAYERS)
    torch.testing.assert_close(net(images)[0], expected, rtol=1e-4, atol=1e-5)
    # The class token depends on everything before it.
    assert not torch.allclose(net(images)[0], net(images.flip(-1))[0], atol=1e-3)


def test_without_class_token_computes_the_dense_form():
    net = wide(out_type='featmap', with_cls_token=False)
    images = torch.randn(2, 3, 64, 96)
    (maps,) = net(images)
    expected = pvt_reference.class_token(official(net), images, LAYERS, False)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('size', [(32, 32), (39, 54), (64, 40)])
@pytest.mark.parametrize('with_cls_token', [True, False])
def test_dense_maps_of_any_size(size, with_cls_token):
    net = dense(with_cls_token=with_cls_token)
    maps = net(torch.randn(2, 3, *size))
    grid = size
    for feature, side, width in zip(maps, (4, 2, 2), ARCH['embed_dims']):
        grid = tuple(s // side for s in grid)
        assert feature.shape == (2, width, *grid)
        assert feature.is_contiguous()
    sum(m.sum() for m in maps).backward()
    # Wrapped models need a gradient for every parameter.
    assert all(p.grad is not None for p in net.parameters())


def test_serves_a_pyramid_and_a_segmentor():
    pytest.importorskip('mmseg.models')
    mmdet = pytest.importorskip('mmdet.models')
    net = dense()
    maps = net(torch.randn(1, 3, 52, 72))
    pyramid = mmdet.FPN(list(ARCH['embed_dims']), 8, num_outs=4)
    assert [p.shape[-2:] for p in pyramid(maps)] == [(13, 18), (6, 9), (3, 4), (2, 2)]
    init_default_scope('mmseg')
    head = MODELS.build(
        dict(
            type='UPerHead',
            in_channels=ARCH['embed_dims'],
            in_index=[0, 1, 2],
            channels=8,
            num_classes=3,
            norm_cfg=dict(type='BN'),
            align_corners=False,
        )
    ).eval()
    assert head(maps).shape == (1, 3, 13, 18)


def test_classifies_on_maps_of_mmdet():
    """mmdet's backbone gives a list, which mmpretrain's own neck refuses."""
    init_default_scope('mmpretrain')
    theirs = mmdet_pvt(out_indices=(3,))
    images = torch.randn(2, 3, 64, 64)
    config = dict(type='GlobalAveragePooling')
    with pytest.raises(TypeError, match='tuple'):
        MODELS.build(config)(theirs(images))
    neck = MODELS.build(dict(type='mmtlalign.GlobalAveragePooling'))
    (pooled,) = neck(theirs(images))
    torch.testing.assert_close(pooled, theirs(images)[0].mean((2, 3)))


def classifier(head, **backbone):
    init_default_scope('mmpretrain')
    return MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(TINY, **backbone),
            head=dict(
                type=f'mmtlalign.{head}VisionTransformerClsHead',
                num_classes=4,
                in_channels=32,
            ),
        )
    )


@pytest.mark.parametrize('size', [(32, 32), (39, 54)])
def test_transmix_looks_where_the_class_token_does(size):
    """The row of the last attention, dense, on the mask of its own grid."""
    model = classifier('TransMix')
    for parameter in model.backbone.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2)
    mask = torch.zeros(1, 1, *size)
    mask[..., 10:30, 12:45] = 1
    images, partner = torch.randn(3, 3, *size), torch.tensor([2, 1, 0])
    mix = Mix(images, torch.eye(4)[:3], partner, mask)
    with model.head.trace(model.backbone, mix) as seen:
        model.extract_feat(mix.images)

    last = model.backbone.stages[-1].layers[-1].attn
    kept = {}
    handles = [
        getattr(last, name).register_forward_hook(
            lambda m, args, out, name=name: kept.update({name: out})
        )
        for name in ('q', 'kv')
    ]
    with torch.no_grad():
        model.backbone(mix.images)
    for handle in handles:
        handle.remove()
    query, key = kept['q'], kept['kv'][..., :32]
    rows = 0
    for head in range(4):
        part = slice(8 * head, 8 * head + 8)
        logits = query[:, 0, part][:, None] @ key[..., part].mT / 8**0.5
        rows = rows + logits.softmax(-1)[:, 0] / 4
    # Token (i, j) of the last grid begins at pixel (16 i, 16 j).
    height, width = size[0] // 16, size[1] // 16
    first = mix.mask[0, 0, ::16, ::16][:height, :width].flatten()
    assert rows.shape == (3, 1 + height * width)
    assert 0 < first.sum() < len(first)
    looked = (rows[:, 1:] * first).sum(-1) / rows[:, 1:].sum(-1)
    torch.testing.assert_close(seen.output_shares()[0], looked)
    (share,) = model.head.partner_shares(mix, seen)
    torch.testing.assert_close(share, (looked + mix.area()) / 2)


@pytest.mark.parametrize('head', ['TLAlign', 'TransMix'])
def test_trains(head):
    from mmpretrain.structures import DataSample

    model = classifier(head)
    model.mixer = lambda images, labels: CutMix().mix(images, labels)
    samples = [DataSample().set_gt_score(row) for row in torch.eye(4)]
    loss = model.loss(torch.randn(4, 3, 39, 54), samples)['loss']
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None for p in model.parameters())


def test_no_attention_of_pytorch_is_known_in_general():
    """mmdet's attention is known; the module of PyTorch inside it is not."""
    from mmtlalign.tracing.attach import attach

    net = mmdet_pvt(out_indices=(3,))
    attach(copy.deepcopy(net))
    net.layers[1][1][1].attn = nn.MultiheadAttention(128, 2)
    with pytest.raises(TypeError, match='is a MultiheadAttention, and how it'):
        attach(net)


@pytest.mark.slow
def test_needs_no_compiled_operators():
    code = (
        'import sys; sys.modules["mmcv._ext"] = sys.modules["mmcv.ops"] = None\n'
        'import torch\n'
        'from mmtlalign.backbones import PVT\n'
        'from mmtlalign.tracing import attach\n'
        'net = PVT("tiny", img_size=64)\n'
        'assert attach(net).attentions == 8\n'
        'net(torch.zeros(1, 3, 64, 64))\n'
    )
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)


def test_start_values_and_epsilons():
    net = PVT('tiny')
    net.init_weights()
    for name, module in net.named_modules():
        if isinstance(module, nn.LayerNorm):
            official = name.endswith(('patch_embed.norm', 'attn.norm'))
            assert module.eps == (1e-5 if official else 1e-6), name
        if isinstance(module, nn.Linear):
            assert abs(module.weight.std() - 0.02) < 2e-3, name
            assert (module.bias == 0).all()
    for name, parameter in net.named_parameters():
        if name.endswith(('pos_embed', 'cls_token')):
            assert abs(parameter.std() - 0.02) < 3e-3, name


def test_weight_decay_of_the_official_recipe():
    """What the docstring gives: matrices and positions decay, nothing else."""
    decay = dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={'.cls_token': dict(decay_mult=0.0)},
    )
    text = ''.join(PVT.__doc__.split())
    assert "norm_decay_mult=0.0,bias_decay_mult=0.0,custom_keys={'.cls_token':" in text
    model = classifier('TLAlign')
    optimizer = dict(type='AdamW', lr=1e-3, weight_decay=0.05)
    config = dict(optimizer=optimizer, paramwise_cfg=decay)
    groups = build_optim_wrapper(model, config).optimizer.param_groups
    found = {id(p) for g in groups if g['weight_decay'] for p in g['params']}
    for name, parameter in model.named_parameters():
        official = parameter.ndim > 1 and not name.endswith('cls_token')
        assert (id(parameter) in found) == official, name


def test_dropout_and_drop_path():
    net = PVT('tiny', drop_path_rate=0.1)
    layers = [layer for stage in net.stages for layer in stage.layers]
    rates = [layer.drop_path.drop_prob for layer in layers]
    assert rates == pytest.approx([0.1 * i / 7 for i in range(8)])
    assert rates == [layer.ffn.dropout_layer.drop_prob for layer in layers]
    net = small(drop_rate=0.5, attn_drop_rate=0.5, drop_path_rate=0.5)
    images = torch.randn(2, 3, 32, 32)
    assert net(images)[0].equal(net(images)[0])
    net.train()
    assert not net(images)[0].equal(net(images)[0])


def test_frozen_stages_stay_frozen_in_training():
    net = small(frozen_stages=1)
    net.train()
    net(torch.randn(2, 3, 32, 32))[0].sum().backward()
    learnt = {n.partition('.')[0] + n.split('.')[1] for n, p in _learnt(net)}
    assert learnt == {'stages2', 'normweight', 'normbias'}
    assert not net.stages[1].training and net.stages[2].training


def _learnt(net):
    return [(n, p) for n, p in net.named_parameters() if p.grad is not None]


def test_layer_depth_counts_from_the_first_stage():
    depth = small().get_layer_depth
    assert depth('backbone.stages.0.patch_embed.norm.bias', 'backbone.') == (0, 6)
    assert depth('backbone.stages.0.layers.0.norm1.bias', 'backbone.') == (1, 6)
    assert depth('backbone.stages.2.positions.cls_token', 'backbone.') == (3, 6)
    assert depth('backbone.stages.2.layers.1.norm1.bias', 'backbone.') == (4, 6)
    assert depth('backbone.norm.bias', 'backbone.') == (5, 6)
    assert depth('head.layers.head.weight', 'backbone.') == (5, 6)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(arch='huge'), "arch='huge'.*medium"),
        (dict(arch=dict(embed_dims=(8,))), 'missing or unknown.*num_heads'),
        (dict(arch=dict(ARCH, num_layers=(1, 1))), "'num_layers': 2.*stages"),
        (dict(arch=dict(ARCH, num_heads=(1, 3, 4))), 'num_heads=3 does not divide.*32'),
        (dict(arch=dict(ARCH, sr_ratios=(4, 2, 2))), 'cannot hold a class token'),
        (dict(out_type='pixels'), "out_type='pixels'.*featmap"),
        (dict(with_cls_token=False), 'no class token to output'),
        (dict(out_indices=(0, 2)), 'in the last stage only'),
        (dict(out_indices=3), 'stages 0 to 2'),
        (dict(out_indices=()), 'at least one'),
        (dict(frozen_stages=3), 'frozen_stages=3'),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


def test_images_that_are_too_small():
    with pytest.raises(ValueError, match='31x64 pixels.*at least 32x32'):
        PVT('tiny')(torch.zeros(1, 3, 31, 64))
    PVT('tiny')(torch.zeros(1, 3, 32, 64))
    with pytest.raises(ValueError, match='at least 16x16'):
        small()(torch.zeros(1, 3, 15, 64))
