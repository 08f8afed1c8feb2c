"""CASwin: numbers of the reconstruction, stock weights, dense use, attention."""

import pytest
import torch
from contract_rows.caswin import CASWIN
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.models import SwinTransformer
from small_backbones import SWIN, randomise, save
from torch.utils.flop_counter import FlopCounterMode

from mmtlalign.backbones.caswin import CASwin
from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.mixing.cutmix import CutMix
from mmtlalign.mixing.mix import Mix
from mmtlalign.tracing.attach import attach
from mmtlalign.tracing.support import backbone_spec

# Parameters with a head of 1000 classes, ours and stock.
PUBLISHED = {
    'tiny': (28_285_066, 28_288_354),
    'small': (49_602_970, 49_606_258),
    'base': (87_763_840, 87_768_224),
}
LAST = 'stages.1.blocks.1.'


def build(cls=CASwin, **options):
    usual = dict(arch=SWIN, img_size=56, window_size=7, out_indices=(1,))
    net = cls(**dict(usual, **options))
    net.eval()
    return net


def dense(**options):
    usual = dict(out_type='featmap', out_indices=(0, 1), pad_small_map=True)
    return build(**dict(usual, **options))


@pytest.mark.parametrize('arch', PUBLISHED)
def test_parameters_of_the_reconstruction(arch):
    ours, stock = CASwin(arch), SwinTransformer(arch)
    width, heads = stock.num_features[-1], stock.num_heads[-1]
    counts = tuple(
        sum(p.numel() for p in net.parameters()) + width * 1000 + 1000
        for net in (ours, stock)
    )
    assert counts == PUBLISHED[arch]
    # A class token more, a table of 169 relative positions a head less.
    assert counts[0] - counts[1] == width - 169 * heads
    line = next(row for row in CASwin.__doc__.splitlines() if f"'{arch}'" in row)
    assert f'{counts[0]:,} {counts[1]:,}' in line


def test_operations_of_the_reconstruction():
    counts = []
    for cls in (CASwin, SwinTransformer):
        net = cls('tiny')
        net.eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.zeros(1, 3, 224, 224))
        counts.append(counter.get_total_flops() / 2)
    ours, stock = counts
    width, tokens = 768, 49
    swin_block = 12 * width**2 * tokens + 2 * tokens**2 * width
    class_block = 2 * width**2 * (tokens + 1) + 10 * width**2
    # The attention of a single query may be left out by the counter.
    assert stock - ours == pytest.approx(swin_block - class_block, abs=1e5)
    assert stock - ours == pytest.approx(0.285e9, rel=5e-3)
    assert 1 - ours / stock == pytest.approx(0.0636, abs=5e-4)


@pytest.mark.parametrize('size', [(56, 56), (72, 100)])
def test_class_token_looks_at_all_tokens(size):
    """The last block once more, one head at a time, after a stock forward."""
    net = randomise(build(pad_small_map=True))
    images = torch.randn(2, 3, *size)
    kept = []
    handle = net.stages[1].register_forward_hook(lambda m, args, out: kept.append(out))
    (found,) = net(images)
    handle.remove()
    patches, grid = kept[0]
    assert patches.shape == (2, grid[0] * grid[1], 32)

    block = net.class_block
    tokens = torch.cat([net.cls_token.expand(2, -1, -1), patches], dim=1)
    normed = block.norm1(tokens)
    query = block.attn.q(normed)[:, 0]
    key, value = block.attn.kv(normed).chunk(2, dim=-1)
    heads = []
    for part in torch.arange(32).chunk(4):
        logits = (key[..., part] * query[:, None, part]).sum(-1) / 8**0.5
        heads.append((logits.softmax(-1)[..., None] * value[..., part]).sum(1))
    token = net.cls_token[:, 0] + block.attn.proj(torch.cat(heads, dim=-1))
    hidden = torch.nn.functional.gelu(block.ffn.layers[0][0](block.norm2(token)))
    token = token + block.ffn.layers[1](hidden)
    torch.testing.assert_close(found, net.norm1(token), rtol=1e-4, atol=1e-4)


def test_options_of_the_replaced_block_hold():
    net = build(
        drop_path_rate=0.3,
        stage_cfgs=dict(
            block_cfgs=dict(
                ffn_ratio=2, attn_cfgs=dict(attn_drop=0.1, qkv_bias=False, qk_scale=0.5)
            )
        ),
    )
    block = net.class_block
    assert block.drop[1].drop_prob == pytest.approx(0.3)
    assert block.ffn.feedforward_channels == 64
    assert (block.attn.attn_drop, block.attn.scale) == (0.1, 0.5)
    assert block.attn.q.bias is None and block.attn.kv.bias is None
    assert net(torch.randn(1, 3, 56, 56))[0].shape == (1, 32)


def test_stock_weights_fill_all_but_the_replaced_block(monkeypatch):
    stock = randomise(build(SwinTransformer))
    ours = build(from_swin=True)
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    logged = []
    monkeypatch.setattr(MMLogger, 'info', lambda logger, line: logged.append(line))
    result = ours.load_state_dict(stock.state_dict(), strict=False)
    assert not result.unexpected_keys
    new = {n for n in before if n.startswith(CASwin.NEW_LAYERS)}
    assert set(result.missing_keys) == new
    for name, tensor in ours.state_dict().items():
        expected = before[name] if name in new else stock.state_dict()[name]
        assert tensor.equal(expected), name
    left_out = [n for n in stock.state_dict() if n.startswith(LAST)]
    assert set(stock.state_dict()) - set(ours.state_dict()) == set(left_out)
    assert len(logged) == 1
    assert (
        f'{LAST[:-1]} ({len(left_out)} tensors) of the plain Swin is not' in logged[0]
    )


def test_stock_weights_are_an_error_unless_asked_for():
    stock = build(SwinTransformer)
    with pytest.raises(ValueError, match='plain Swin.*stages.1.blocks.1.*from_swin'):
        build().load_state_dict(stock.state_dict(), strict=False)
    # Asked for, but strictly: what is new is named.
    with pytest.raises(RuntimeError, match='Missing.*cls_token.*class_block'):
        build(from_swin=True).load_state_dict(stock.state_dict())


def test_checkpoint_of_a_stock_classifier(tmp_path):
    stock = randomise(build(SwinTransformer))
    path = save(stock, tmp_path / 'swin.pth')
    ours = build(from_swin=True)
    (line, *_) = load_backbone(ours, path, new_layers=CASwin.NEW_LAYERS)
    new = len([n for n in ours.state_dict() if n.startswith(CASwin.NEW_LAYERS)])
    total = len(ours.state_dict())
    assert f'{total - new} of {total} tensors' in line
    assert (
        ours.stages[0]
        .blocks[0]
        .norm1.weight.equal(stock.stages[0].blocks[0].norm1.weight)
    )


def test_own_checkpoint_fills_the_dense_form(tmp_path):
    source = randomise(build())
    target = dense()
    path = save(source, tmp_path / 'a.pth')
    lines = load_backbone(target, path, new_layers=('norm0',))
    assert 'new layers: norm0' in lines[0]
    for name, tensor in source.state_dict().items():
        assert target.state_dict()[name].equal(tensor), name


@pytest.mark.parametrize('size', [(56, 56), (72, 100)])
def test_dense_maps_of_any_size(size):
    """Those of a Swin whose last stage is a block shorter, as it is here."""
    net = dense()
    net.train()
    images = torch.randn(2, 3, *size)
    maps = net(images)
    assert [m.shape[1:] for m in maps] == [
        (16, size[0] // 4, size[1] // 4),
        (32, -(-size[0] // 8), -(-size[1] // 8)),
    ]
    stock = build(
        SwinTransformer,
        arch=dict(SWIN, depths=[2, 1]),
        out_indices=(0, 1),
        pad_small_map=True,
    )
    own = {
        k: v for k, v in net.state_dict().items() if not k.startswith(net.NEW_LAYERS)
    }
    stock.load_state_dict(own)
    net.eval()
    for a, b in zip(net(images), stock(images)):
        assert a.equal(b)
    # Wrapped models need a gradient for every parameter that learns.
    sum(m.square().sum() for m in maps).backward()
    for name, parameter in net.named_parameters():
        assert (parameter.grad is None) == name.startswith(net.NEW_LAYERS), name
        assert parameter.requires_grad != name.startswith(net.NEW_LAYERS), name


def test_serves_a_segmentor():
    pytest.importorskip('mmseg.models')
    init_default_scope('mmseg')
    head = MODELS.build(
        dict(
            type='UPerHead',
            in_channels=[16, 32],
            in_index=[0, 1],
            channels=8,
            num_classes=3,
            norm_cfg=dict(type='BN'),
            align_corners=False,
        )
    ).eval()
    assert head(dense()(torch.randn(1, 3, 72, 100))).shape == (1, 3, 18, 25)


def classifier(head):
    init_default_scope('mmpretrain')
    return MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(CASWIN, pad_small_map=True, drop_path_rate=0.0),
            head=dict(
                type=f'mmtlalign.{head}LinearClsHead', num_classes=4, in_channels=64
            ),
        )
    )


@pytest.mark.parametrize('size', [(64, 64), (72, 100)])
def test_transmix_looks_where_the_class_token_does(size):
    """The row of the class attention, dense, on the mask of the last grid."""
    model = classifier('TransMix')
    for parameter in model.backbone.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    mask = torch.zeros(1, 1, *size)
    mask[..., 10:40, 12:45] = 1
    images, partner = torch.randn(3, 3, *size), torch.tensor([2, 1, 0])
    mix = Mix(images, torch.eye(4)[:3], partner, mask)
    with model.head.trace(model.backbone, mix) as seen:
        model.extract_feat(mix.images)

    kept = {}
    attention = model.backbone.class_block.attn
    for name in ('q', 'kv'):
        getattr(attention, name).register_forward_hook(
            lambda m, args, out, name=name: kept.update({name: out})
        )
    with torch.no_grad():
        model.backbone(mix.images)
    rows = 0
    for part in torch.arange(64).chunk(4):
        logits = (kept['kv'][..., part] * kept['q'][..., part]).sum(-1) / 16**0.5
        rows = rows + logits.softmax(-1) / 4
    # Token (i, j) of the last of three grids begins at pixel (16 i, 16 j).
    first = mask[0, 0, ::16, ::16].flatten()
    assert rows.shape == (3, 1 + len(first))
    looked = (rows[:, 1:] * first).sum(-1) / rows[:, 1:].sum(-1)
    assert looked.max() - looked.min() > 1e-3
    torch.testing.assert_close(seen.output_shares()[0], looked)
    (share,) = model.head.partner_shares(mix, seen)
    torch.testing.assert_close(share, (looked + mix.area()) / 2)


def test_transmix_of_swin_tiny_reads_seven_by_seven():
    init_default_scope('mmpretrain')
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(type='mmtlalign.CASwin', arch='tiny'),
            head=dict(
                type='mmtlalign.TransMixLinearClsHead', num_classes=4, in_channels=768
            ),
        )
    )
    mix = CutMix().mix(torch.randn(2, 3, 224, 224), torch.eye(4)[:2])
    with torch.no_grad(), model.head.trace(model.backbone, mix) as seen:
        model.extract_feat(mix.images)
    assert seen.rows.shape == (2, 1, 50)
    assert seen.grid == (7, 7)
    assert seen.mask.equal(mix.mask[:, 0, ::32, ::32].flatten(1).expand(2, -1))


@pytest.mark.parametrize('head', ['TLAlign', 'TransMix'])
def test_trains(head):
    from mmpretrain.structures import DataSample

    model = classifier(head)
    model.mixer = lambda images, labels: CutMix().mix(images, labels)
    samples = [DataSample().set_gt_score(row) for row in torch.eye(4)]
    loss = model.loss(torch.randn(4, 3, 64, 64), samples)['loss']
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None for p in model.parameters())


def test_is_not_taken_for_a_stock_swin():
    """The family of the base class is known first, and must not stand for it."""
    backbone_spec(build(SwinTransformer))
    net = build()
    assert backbone_spec(net).output(net) == 'class'
    assert attach(net).attentions == 4
    with pytest.raises(ValueError, match="set out_type='cls_token'"):
        backbone_spec(net).output(dense())


def test_frozen_stages_and_layer_depth():
    net = build(frozen_stages=1)
    net.train()
    assert not any(p.requires_grad for p in net.parameters())
    assert not net.class_block.training
    depth = build().get_layer_depth
    for name in ('cls_token', 'class_block.attn.q.weight'):
        assert depth(f'backbone.{name}', 'backbone.') == (4, 6)
    assert depth('backbone.stages.1.blocks.0.norm1.weight', 'backbone.') == (3, 6)
    assert depth('head.fc.weight', 'backbone.') == (5, 6)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="out_type='mean'.*featmap"):
        build(out_type='mean')
    with pytest.raises(ValueError, match=r'out_indices=\(0, 1\): only the last stage'):
        build(out_indices=(0, 1))


@pytest.mark.parametrize(
    'arch, given',
    [
        (dict(SWIN, depths=[4, 2]), r'blocks \[4, 1\], widths \[16, 32\]'),
        (dict(SWIN, embed_dims=32), r'blocks \[2, 1\], widths \[32, 64\]'),
    ],
)
def test_weights_of_another_variant_are_named(arch, given):
    own = r'this one has blocks \[2, 1\], widths \[16, 32\]'
    with pytest.raises(ValueError, match=f'{given}.*{own}'):
        build().load_state_dict(build(arch=arch).state_dict())
    part = {k: v for k, v in build().state_dict().items() if 'patch_embed' in k}
    build().load_state_dict(part, strict=False)


def test_small_maps_of_a_fixed_window():
    """As of the stock Swin: a map that is smaller than the window is an error."""
    with pytest.raises(AssertionError, match='smaller than the window size'):
        build()(torch.randn(1, 3, 40, 56))
