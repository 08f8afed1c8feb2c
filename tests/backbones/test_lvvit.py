"""LV-ViT: sizes, shapes, start values, weight decay, weights, messages."""

import copy

import mmseg.models  # noqa: F401  registers its heads
import numpy as np
import pytest
import torch
from golden_files import HERE, close
from golden_lvvit import GoldenLVViT
from lvvit_sizes import VARIANTS
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from mmpretrain.structures import DataSample
from repository import tool
from torch import nn

from mmtlalign.backbones.lvvit import LVViT
from mmtlalign.checkpoint.convert import convert
from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.mixing.mixtoken import MixToken, swap_box, swap_patches
from mmtlalign.tracing.support import backbone_spec

SMALL = dict(
    embed_dims=32,
    num_layers=3,
    num_heads=4,
    feedforward_channels=96,
    skip_lam=2,
    stem_channels=8,
)
SHAPES = dict(
    tiny=(12, 240, 4, 1, 64),
    small=(16, 384, 6, 2, 64),
    medium=(20, 512, 8, 2, 64),
    large=(24, 768, 12, 3, 128),
)


def small(**options):
    torch.manual_seed(0)
    net = LVViT(**dict(dict(arch=SMALL, img_size=32, patch_size=8), **options))
    net.eval()
    return net


def classifier(head='mmtlalign.TLAlignVisionTransformerClsHead', **options):
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(
                type='mmtlalign.LVViT', arch=SMALL, img_size=32, patch_size=8
            ),
            head=dict(type=head, num_classes=4, in_channels=32, **options),
            train_cfg=dict(augments=dict(type='mmtlalign.CutMix')),
        )
    )


@pytest.mark.parametrize('variant', VARIANTS)
def test_parameters_of_the_published_variants(variant):
    arch, img_size = variant
    with torch.device('meta'):
        net = LVViT(arch, img_size=img_size)
    heads = 2 * (net.embed_dims * 1000 + 1000)
    assert sum(p.numel() for p in net.parameters()) + heads == VARIANTS[variant]
    layer = net.layers[-1]
    shape = (
        len(net.layers),
        net.embed_dims,
        layer.attn.num_heads,
        layer.skip_lam,
        net.patch_embed.projection.in_channels,
    )
    assert shape == SHAPES[arch]
    assert layer.attn.qkv.bias is None and layer.attn.proj.bias is not None


def test_docstring_gives_the_tested_table():
    lines = [' '.join(line.split()) for line in LVViT.__doc__.splitlines()]
    for arch, shape in SHAPES.items():
        row = ' '.join(map(str, shape))
        assert f"'{arch}' {row} {VARIANTS[arch, 224]:,}" in lines


@pytest.mark.parametrize('size', [(32, 32), (32, 48), (33, 50), (7, 16), (96, 64)])
def test_any_size_gives_a_grid_rounded_up(size):
    grid = tuple(-(-side // 8) for side in size)
    images = torch.randn(2, 3, *size)
    net = small(out_type='featmap')
    tokens, found = net.patch_embed(images)
    assert found == grid
    assert tokens.shape == (2, grid[0] * grid[1], 32)
    (out,) = net(images)
    assert out.shape == (2, 32, *grid)
    assert out.isfinite().all()


def test_what_fills_an_image_up_is_zero_at_the_bottom_and_at_the_right():
    images = torch.randn(2, 3, 27, 37)
    filled = torch.zeros(2, 3, 32, 40)
    filled[..., :27, :37] = images
    assert small()(images)[0].equal(small()(filled)[0])


def test_non_square_images_keep_rows_and_columns_apart():
    """Positions of a grid that is not square are those of rows and columns."""
    net = small(out_type='featmap', img_size=(32, 64))
    images = torch.randn(1, 3, 32, 64)
    (wide,) = net(images)
    other = small(out_type='featmap', img_size=(64, 32))
    weights = {k: v.mT if v.ndim == 4 else v for k, v in net.state_dict().items()}
    grid = weights['pos_embed'][:, 1:].unflatten(1, (4, 8)).transpose(1, 2)
    first = weights['pos_embed'][:, :1]
    weights['pos_embed'] = torch.cat([first, grid.flatten(1, 2)], dim=1)
    other.load_state_dict(weights)
    (high,) = other(images.mT)
    torch.testing.assert_close(high.mT, wide, atol=1e-5, rtol=1e-4)
    # The same, resized on the way.
    (wide,), (high,) = net(images[..., :48]), other(images[..., :48].mT)
    torch.testing.assert_close(high.mT, wide, atol=1e-5, rtol=1e-4)


def test_outputs():
    images = torch.randn(2, 3, 32, 32)
    net = small()
    outs = {}
    for net.out_type in LVViT.OUT_TYPES:
        (outs[net.out_type],) = net(images)
    raw = outs['raw']
    assert raw.shape == (2, 1 + 16, 32)
    assert outs['cls_token'].equal(raw[:, 0])
    assert outs['featmap'].flatten(2).mT.equal(raw[:, 1:])
    net.out_indices, net.out_type = [0, 1, 2], 'raw'
    assert [out.shape for out in net(images)] == 3 * [(2, 17, 32)]
    assert net(images)[2].equal(raw)
    assert small(out_indices=(-3, -1)).out_indices == [0, 2]
    assert 'ln1.weight' not in small(final_norm=False).state_dict()


def test_epsilons_and_drop_paths():
    """An epsilon of the last norm cannot be seen in the logits."""
    net = small(drop_path_rate=0.1)
    norms = [m for m in net.modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 7 and {norm.eps for norm in norms} == {1e-5}
    stem = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [(m.eps, m.momentum) for m in stem] == 3 * [(1e-5, 0.1)]
    for branch in ('attn.out_drop', 'ffn.dropout_layer'):
        rates = [layer.get_submodule(branch).drop_prob for layer in net.layers]
        assert rates == [0.0, 0.05, 0.1]
        assert {type(rate) for rate in rates} == {float}  # torch.compile wants these


def test_start_values():
    net = LVViT('tiny', img_size=224)
    convolutions = {k: p.clone() for k, p in net.named_parameters() if p.ndim == 4}
    net.init_weights()
    assert len(convolutions) == 4
    for name, p in net.named_parameters():
        module = net.get_submodule(name.rpartition('.')[0])
        if isinstance(module, nn.Linear) and name.endswith('weight'):
            assert abs(p.std() - 0.02) < 2e-3
        elif name in ('cls_token', 'pos_embed'):
            assert abs(p.std() - 0.02) < 4e-3
        elif isinstance(module, nn.Conv2d):
            if name in convolutions:  # PyTorch's own: uniform within 1 / sqrt(fan in)
                assert p.equal(convolutions[name])
                assert p.abs().max() <= p[0].numel() ** -0.5
        else:
            assert (p == float(name.endswith('weight'))).all(), name


def test_frozen_stages_stay_frozen_in_training():
    net = small(frozen_stages=2)
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net(torch.randn(4, 3, 32, 32))[0].square().sum().backward()
    trained = {k for k, p in net.named_parameters() if p.grad is not None}
    assert {k.split('.')[0] for k in trained} == {'layers', 'ln1'}
    assert all(k.startswith(('layers.2.', 'ln1.')) for k in trained)
    assert all(v.equal(before[k]) for k, v in net.state_dict().items())
    assert all(p.requires_grad for p in small().parameters())
    stem = small(frozen_stages=0)
    stem.train()
    closed = {k for k, p in stem.named_parameters() if not p.requires_grad}
    assert {k.split('.')[0] for k in closed} == {
        'cls_token',
        'patch_embed',
        'pos_embed',
    }
    assert not stem.patch_embed.training and stem.layers[0].training


def test_layer_depth_counts_from_the_stem():
    depth = small().get_layer_depth
    assert depth('backbone.cls_token', 'backbone.') == (0, 5)
    assert depth('backbone.pos_embed', 'backbone.') == (0, 5)
    assert depth('backbone.patch_embed.stem.0.conv.weight', 'backbone.') == (0, 5)
    assert depth('backbone.layers.2.ln1.weight', 'backbone.') == (3, 5)
    assert depth('backbone.ln1.weight', 'backbone.') == (4, 5)
    assert depth('head.layers.head.weight', 'backbone.') == (4, 5)


def test_computing_layers_again_changes_no_gradient():
    images = torch.randn(2, 3, 32, 32)
    nets = [small(with_cp=with_cp) for with_cp in (False, True)]
    kept = []
    for net in nets:
        net.train()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: kept[-1].append(t.numel()) or t, lambda t: t
        ):
            kept.append([])
            net(images)[0].square().sum().backward()
    assert sum(kept[1]) < 0.7 * sum(kept[0])
    for ours, theirs in zip(*(net.parameters() for net in nets)):
        assert ours.grad.equal(theirs.grad)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(patch_size=7), 'patch_size=7.*even'),
        (dict(arch=dict(SMALL, num_heads=3)), 'num_heads=3 does not divide.*32'),
        (dict(arch=dict(SMALL, skip_lam=0)), 'skip_lam=0.*positive'),
        (dict(arch='huge'), "arch='huge'.*tiny"),
        (dict(arch=dict(embed_dims=32)), 'missing or unknown.*skip_lam'),
        (dict(out_type='avg_featmap'), "out_type='avg_featmap'.*featmap"),
        (dict(out_indices=[3]), 'layers 0 to 2'),
        (dict(out_indices=[]), 'at least one'),
        (dict(frozen_stages=4), 'frozen_stages=4'),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


DECAY = dict(
    norm_decay_mult=0.0,
    bias_decay_mult=0.0,
    custom_keys={
        '.cls_token': dict(decay_mult=0.0),
        '.pos_embed': dict(decay_mult=0.0),
    },
)


def test_weight_decay_groups_are_the_official_ones():
    """Those of the docstring: none for positions, class token, vectors."""
    text = ' '.join(LVViT.__doc__.split())
    assert "custom_keys={'.cls_token': dict(decay_mult=0.0), '.pos_embed': d" in text
    model = classifier()
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
            paramwise_cfg=DECAY,
        ),
    )
    decayed = {
        id(p)
        for group in wrapper.optimizer.param_groups
        if group['weight_decay'] > 0
        for p in group['params']
    }
    for name, p in model.named_parameters():
        token = name in ('backbone.cls_token', 'backbone.pos_embed')
        assert (id(p) in decayed) == (p.ndim > 1 and not token), name


@pytest.fixture
def golden():
    return GoldenLVViT(HERE / 'lvvit_a.npz')


def test_official_names_are_recognised(golden):
    with pytest.raises(
        ValueError, match='tools/model_converters/convert_weights.py lvvit'
    ):
        small().load_state_dict(golden.official)


def test_names_there_and_back(golden):
    ours = convert(golden.official, 'lvvit')
    assert set(ours) == set(golden.model.state_dict())
    assert not set(ours) & set(golden.official)
    back = convert(ours, 'lvvit', reverse=True)
    assert list(back) == list(golden.official)
    assert all(back[key] is golden.official[key] for key in golden.official)


def test_converted_file_gives_the_golden_logits(golden, tmp_path):
    """A whole file goes into the model, and its backbone into any other."""
    source, target = str(tmp_path / 'official.pth'), str(tmp_path / 'ours.pth')
    torch.save(dict(state_dict=golden.official, epoch=299), source)
    lines = tool('model_converters/convert_weights').convert_file(
        'lvvit', source, target
    )
    assert lines == [f'{len(golden.official)} tensors written to {target}']
    for tensor in golden.model.parameters():
        nn.init.normal_(tensor)
    load_checkpoint(golden.model, target, strict=True)
    golden.model.eval()
    with torch.no_grad():
        out = golden.model(golden.images, mode='tensor')
    close(out, golden['eval/combined'], 5e-6)

    dense = LVViT(out_type='featmap', out_indices=range(3), **golden.sizes)
    lines = load_backbone(dense, target)
    count = len(dense.state_dict())
    assert f'{count} of {count} tensors' in lines[0]
    dense.double().eval()
    maps = dense(golden.images)
    close(maps[0].flatten(2).mT, golden['eval/blk0/out'][:, 1:], 2e-5)
    close(maps[-1].flatten(2).mT, golden['eval/norm'][:, 1:], 2e-5)


def test_positions_of_another_size_are_resized(golden, tmp_path):
    path = str(tmp_path / 'ours.pth')
    torch.save(convert(golden.official, 'lvvit'), path)
    larger = LVViT(**dict(golden.sizes, img_size=96))
    lines = load_backbone(larger, path)
    assert any('pos_embed resized from 4x4 to 6x6' in line for line in lines)
    own = golden.official['pos_embed']
    assert larger.pos_embed.shape == (1, 37, 32)
    assert larger.pos_embed[:, 0].equal(own[:, 0])
    # What a file of 64 pixels gives at 96 by itself.
    images = torch.randn(1, 3, 96, 96)
    as_it_is = LVViT(**golden.sizes)
    load_backbone(as_it_is, path)
    for net in (larger, as_it_is):
        net.eval()
    torch.testing.assert_close(larger(images), as_it_is(images))


@pytest.mark.parametrize('method', ['TLAlign', 'TransMix'])
def test_heads_that_trace_train_it(method):
    model = classifier(f'mmtlalign.{method}VisionTransformerClsHead')
    for p in model.parameters():
        if p.ndim > 1:
            nn.init.normal_(p, std=0.15)
    model.train()
    read, shares = model.head.partner_shares, []

    def remember(mix, reader):
        shares.append((read(mix, reader)[0], mix.area()))
        return (shares[-1][0],)

    model.head.partner_shares = remember
    np.random.seed(0)
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    images = torch.randint(0, 255, (4, 3, 40, 56))
    inputs = model.data_preprocessor(
        dict(inputs=images, data_samples=samples), training=True
    )
    loss = model(**inputs, mode='loss')['loss']
    loss.backward()
    assert loss.isfinite()
    # The last norm of the class token alone: all parameters take part.
    assert all(p.grad is not None for p in model.parameters())
    ((share, area),) = shares
    assert (share - area).abs().max() > 1e-3


def test_output_that_is_traced():
    assert backbone_spec(small()).output(small()) == 'class'
    early, every = small(out_indices=[1]), small(out_type='raw')
    with pytest.raises(ValueError, match='last output must be 2'):
        backbone_spec(early).output(early)
    with pytest.raises(ValueError, match="out_type='raw': no share"):
        backbone_spec(every).output(every)


def test_exchanged_box_is_of_the_batch_turned_round():
    tokens = torch.randn(5, 12, 2, requires_grad=True)
    swapped = swap_box(tokens, (3, 4), (1, 3, 0, 2))
    for b in range(5):
        for i in range(12):
            inside = i // 4 >= 1 and i % 4 < 2
            assert swapped[b, i].equal(tokens[4 - b if inside else b, i])
    assert swap_box(swapped, (3, 4), (1, 3, 0, 2)).equal(tokens)
    assert swap_box(tokens, (3, 4), (1, 1, 0, 2)).equal(tokens)
    swapped[0].sum().backward()
    assert tokens.grad.sum(-1)[0].eq(0).sum() == tokens.grad.sum(-1)[4].ne(0).sum() == 4


def test_boxes_are_drawn_in_the_official_order():
    np.random.seed(5)
    np.random.rand()  # whether this batch is mixed at all, then as there
    lam = np.random.beta(1, 1)
    row, column = np.random.randint(8), np.random.randint(6)
    half = [int(side * (1 - lam) ** 0.5) // 2 for side in (8, 6)]
    np.random.seed(5)
    record = MixToken(patch_size=16).mix(torch.zeros(2, 3, 128, 96), torch.eye(2))
    assert record.box == (
        max(row - half[0], 0),
        min(row + half[0], 8),
        max(column - half[1], 0),
        min(column + half[1], 6),
    )


@pytest.mark.parametrize('kind', ['LVViT', 'VisionTransformer', 'DHVT'])
def test_any_patch_embedding_can_be_exchanged(kind):
    """Images that differ in whole patches: exchanging those is the same."""
    init_default_scope('mmpretrain')
    arch = {k: SMALL[k] for k in list(SMALL)[: None if kind == 'LVViT' else 4]}
    options = {} if kind == 'DHVT' else dict(img_size=32)
    prefix = 'mmpretrain.' if kind == 'VisionTransformer' else 'mmtlalign.'
    config = dict(type=prefix + kind, arch=arch, patch_size=16, out_type='raw')
    net = MODELS.build(dict(config, **options))
    net.eval()
    images, box = torch.randn(2, 3, 32, 48), (0, 2, 1, 3)
    before = copy.deepcopy(net.patch_embed)(images)[0]
    seen = []
    with swap_patches(net.patch_embed, box):
        net.patch_embed.register_forward_hook(lambda m, a, out: seen.append(out))
        net(images)
    assert seen[0][0].equal(swap_box(before, (2, 3), box))
    net(images)
    assert seen[1][0].equal(before)
