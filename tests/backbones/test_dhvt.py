"""DHVT: sizes, shapes, start values, weight decay, messages."""

import mmseg.models  # noqa: F401  registers its heads
import pytest
import torch
from golden_dhvt import GoldenDHVT
from golden_files import HERE
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmtlalign.backbones.dhvt import DHVT

SMALL = dict(embed_dims=32, num_layers=3, num_heads=4, feedforward_channels=64)
VARIANTS = {
    ('tiny-cifar', 4, 100): 6_008_650,
    ('tiny-cifar', 2, 100): 5_845_162,
    ('small-cifar', 4, 100): 23_425_450,
    ('small-cifar', 2, 100): 22_766_698,
    ('tiny-domainnet', 16, 345): 6_105_975,
    ('small-domainnet', 16, 345): 23_788_431,
    ('tiny-imagenet', 16, 1000): 6_267_334,
    ('small-imagenet', 16, 1000): 24_040_606,
}


def small(patch_size=4, arch=SMALL, **options):
    net = DHVT(arch, patch_size, **options)
    net.eval()
    return net


def classifier(backbone=SMALL, **head):
    init_default_scope('mmpretrain')
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='mmtlalign.DHVT', arch=backbone, patch_size=4),
            head=dict(
                type='VisionTransformerClsHead', num_classes=5, in_channels=32, **head
            ),
        )
    )


@pytest.mark.parametrize('variant', VARIANTS)
def test_parameters_of_the_published_variants(variant):
    arch, patch_size, classes = variant
    net = DHVT(arch, patch_size)
    assert net.num_layers == 12
    head = net.embed_dims * classes + classes
    assert sum(p.numel() for p in net.parameters()) + head == VARIANTS[variant]


@pytest.mark.parametrize('patch_size', [2, 4, 16])
@pytest.mark.parametrize('size', [(32, 32), (32, 48), (33, 50), (7, 16)])
def test_any_size_gives_a_grid_rounded_up(patch_size, size):
    grid = tuple(-(-side // patch_size) for side in size)
    images = torch.randn(2, 3, *size)
    tokens, found = small(patch_size).patch_embed(images)
    assert found == grid
    assert tokens.shape == (2, grid[0] * grid[1], 32)
    (out,) = small(patch_size, out_type='featmap')(images)
    assert out.shape == (2, 32, *grid)
    assert out.isfinite().all()


def test_non_square_images_keep_rows_and_columns_apart():
    """The depthwise convolution would mix other neighbours on a wrong grid."""
    net = small(out_type='featmap')
    images = torch.randn(1, 3, 16, 32)
    (wide,) = net(images)
    # The network with every kernel transposed, given the transposed image.
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.mT.contiguous()
    (high,) = net(images.mT)
    torch.testing.assert_close(high.mT, wide, atol=1e-5, rtol=1e-4)


def test_outputs():
    images = torch.randn(2, 3, 32, 32)
    net = small()
    outs = {}
    for net.out_type in DHVT.OUT_TYPES:
        (outs[net.out_type],) = net(images)
    raw = outs['raw']
    assert raw.shape == (2, 1 + 64, 32)
    assert outs['cls_token'].equal(raw[:, 0])
    assert outs['featmap'].flatten(2).mT.equal(raw[:, 1:])
    assert outs['featmap'].is_contiguous()
    torch.testing.assert_close(outs['avg_featmap'], raw[:, 1:].mean(dim=1))
    net.out_indices, net.out_type = [0, 1, 2], 'raw'
    assert [out.shape for out in net(images)] == 3 * [(2, 65, 32)]
    assert net(images)[2].equal(raw)
    assert small(out_indices=(-3, -1)).out_indices == [0, 2]
    assert 'ln1.weight' not in small(final_norm=False).state_dict()


def test_start_values():
    net = DHVT('tiny-cifar', 4)
    convolutions = {k: p.clone() for k, p in net.named_parameters() if p.ndim == 4}
    net.init_weights()
    for name, p in net.named_parameters():
        module = net.get_submodule(name.rpartition('.')[0])
        if isinstance(module, nn.Linear) and name.endswith('weight'):
            assert abs(p.std() - 0.02) < 2e-3
        elif name.endswith(('cls_token', 'head_embed')):
            assert abs(p.std() - 0.02) < 4e-3
        elif isinstance(module, nn.Conv2d):
            if name in convolutions:  # PyTorch's own: uniform within 1 / sqrt(fan in)
                assert p.equal(convolutions[name])
                assert p.abs().max() <= p[0].numel() ** -0.5
        else:
            assert (p == float(name.endswith(('weight', 'alpha')))).all()
    head = classifier(init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02)).head
    head.init_weights()
    assert abs(head.layers.head.weight.std() - 0.02) < 5e-3


def test_epsilons_and_drop_paths():
    """An epsilon of the later norms cannot be seen in the logits."""
    net = DHVT('tiny-cifar', 4, drop_path_rate=0.1)
    for name, module in net.named_modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == (1e-5 if name.endswith('head_norm') else 1e-6)
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-5, 0.1)
    rates = [layer.drop_path.drop_prob for layer in net.layers]
    assert rates == pytest.approx([0.1 * i / 11 for i in range(12)])


def test_norms_of_patches_and_feed_forward_are_chosen_apart():
    net = DHVT('tiny-cifar', 4, patch_norm_cfg=dict(type='SyncBN'))
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            synchronised = isinstance(module, nn.SyncBatchNorm)
            assert synchronised == name.startswith('patch_embed')
    net.train()
    assert net(torch.randn(2, 3, 16, 16))[0].isfinite().all()  # on a CPU, alone


def test_frozen_stages_stay_frozen_in_training():
    net = small(frozen_stages=2)
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net(torch.randn(4, 3, 32, 32))[0].square().sum().backward()
    open_ = {k for k, p in net.named_parameters() if p.grad is not None}
    assert {k.split('.')[0] + k.split('.')[1] for k in open_ if '.' in k} == {
        'layers2',
        'ln1weight',
        'ln1bias',
    }
    assert 'cls_token' not in open_
    moved = {k for k, v in net.state_dict().items() if not v.equal(before[k])}
    assert moved and all(k.startswith('layers.2') for k in moved)
    assert all(p.requires_grad for p in small().parameters())


def test_dropout_acts_in_training_only():
    net = small(drop_rate=0.5, attn_drop_rate=0.5, drop_path_rate=0.5)
    images = torch.randn(2, 3, 16, 16)
    assert net(images)[0].equal(net(images)[0])
    net.train()
    assert not net(images)[0].equal(net(images)[0])


def test_layer_depth_counts_from_the_stem():
    depth = small().get_layer_depth
    assert depth('backbone.cls_token', 'backbone.') == (0, 5)
    assert depth('backbone.patch_embed.pre_affine.alpha', 'backbone.') == (0, 5)
    assert depth('backbone.layers.2.ln1.weight', 'backbone.') == (3, 5)
    assert depth('backbone.ln1.weight', 'backbone.') == (4, 5)
    assert depth('head.layers.head.weight', 'backbone.') == (4, 5)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(patch_size=8), r'patch_size=8.*\(2, 4, 16\)'),
        (dict(arch=dict(SMALL, num_heads=3)), 'num_heads=3 does not divide.*32'),
        (dict(arch='huge'), "arch='huge'.*tiny-cifar"),
        (dict(arch=dict(embed_dims=32)), 'missing or unknown.*num_heads'),
        (dict(patch_size=16, arch=dict(SMALL, embed_dims=36)), 'multiple of 8'),
        (dict(out_type='pixels'), "out_type='pixels'.*featmap"),
        (dict(out_indices=[3]), 'layers 0 to 2'),
        (dict(out_indices=[]), 'at least one'),
        (dict(frozen_stages=4), 'frozen_stages=4'),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


@pytest.mark.parametrize(
    'other, differs',
    [
        (dict(patch_size=2), 'patch size 2'),
        (dict(arch=dict(SMALL, embed_dims=48)), 'width 48'),
        (dict(arch=dict(SMALL, num_heads=8)), 'heads 8'),
        (dict(arch=dict(SMALL, num_layers=2)), 'depth 2'),
    ],
)
def test_weights_of_another_variant_are_named(other, differs):
    """One line with both variants, also for a backbone inside a model."""
    weights = small(**other).state_dict()
    own = 'this one has patch size 4, width 32, heads 4, depth 3'
    with pytest.raises(ValueError, match=f'{differs}.*{own}'):
        small().load_state_dict(weights)
    with pytest.raises(ValueError, match=f'{differs}.*{own}'):
        classifier().load_state_dict({f'backbone.{k}': v for k, v in weights.items()})


def test_parts_and_equals_are_loaded():
    weights = small().state_dict()
    small().load_state_dict(weights)
    part = {k: v for k, v in weights.items() if k.startswith('patch_embed')}
    small().load_state_dict(part, strict=False)


def test_official_names_are_recognised():
    golden = GoldenDHVT(HERE / 'dhvt_cifar_patch4_a.npz')
    with pytest.raises(
        ValueError, match='tools/model_converters/convert_weights.py dhvt'
    ):
        small().load_state_dict(golden.official)


OFFICIAL_DECAY = dict(
    norm_decay_mult=0.0,
    bias_decay_mult=0.0,
    custom_keys={'.cls_token': dict(decay_mult=0.0)},
)
LESS_DECAY = dict(
    OFFICIAL_DECAY,
    custom_keys={
        '.cls_token': dict(decay_mult=0.0),
        '.head_embed': dict(decay_mult=0.0),
        '_affine': dict(decay_mult=0.0),
    },
)


def decayed(model, paramwise_cfg):
    """Names of the parameters whose group has weight decay."""
    optimizer = dict(type='AdamW', lr=1e-3, weight_decay=0.05)
    wrapper = build_optim_wrapper(
        model, dict(optimizer=optimizer, paramwise_cfg=paramwise_cfg)
    )
    names = {id(p): name for name, p in model.named_parameters()}
    found = {}
    for group in wrapper.optimizer.param_groups:
        assert group['weight_decay'] in (0, 0.05)
        found |= {names[id(p)]: group['weight_decay'] > 0 for p in group['params']}
    assert found.keys() == set(names.values())
    return {name for name, yes in found.items() if yes}


def test_weight_decay_groups_are_the_official_ones():
    model = classifier()
    official = {
        name
        for name, p in model.named_parameters()
        if p.ndim > 1 and not name.endswith('.bias') and name != 'backbone.cls_token'
    }
    assert decayed(model, OFFICIAL_DECAY) == official
    special = {n for n in official if n.endswith(('head_embed', 'alpha', 'beta'))}
    assert len(special) == 3 + 4
    assert decayed(model, LESS_DECAY) == official - special


def test_docstring_gives_the_tested_settings():
    text = ' '.join(DHVT.__doc__.split())
    assert (
        "norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys={'.cls_token': dict("
        in text
    )
    assert (
        "'.head_embed': dict(decay_mult=0.0), '_affine': dict(decay_mult=0.0)" in text
    )
    for (arch, patch_size, classes), count in VARIANTS.items():
        assert any(
            f"'{arch}' {patch_size} " in row and f'{count:,} ({classes})' in row
            for row in (' '.join(line.split()) for line in DHVT.__doc__.splitlines())
        )


def test_trains_upernet():
    """Maps of several layers fit mmseg's multi-level neck and UPerHead."""
    init_default_scope('mmseg')
    norm = dict(type='BN')
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(
                type='mmtlalign.DHVT',
                arch=dict(SMALL, num_layers=4),
                patch_size=16,
                out_type='featmap',
                out_indices=(0, 1, 2, 3),
            ),
            neck=dict(
                type='MultiLevelNeck',
                in_channels=4 * [32],
                out_channels=32,
                scales=[4, 2, 1, 0.5],
            ),
            decode_head=dict(
                type='UPerHead',
                in_channels=4 * [32],
                in_index=[0, 1, 2, 3],
                channels=16,
                num_classes=3,
                norm_cfg=norm,
                align_corners=False,
            ),
        )
    )
    feats = model.extract_feat(torch.randn(2, 3, 80, 112))
    assert [f.shape[-2:] for f in feats] == [(20, 28), (10, 14), (5, 7), (2, 3)]
    logits = model.decode_head(feats)
    assert logits.shape == (2, 3, 20, 28)
    logits.square().mean().backward()
    # Also the last gate, which no map depends on: wrapped models need that.
    assert all(p.grad is not None for p in model.backbone.parameters())
