"""A plain ViT in windows, and the pyramid behind it, held to dense oracles."""

import copy

import pytest
import torch
from contract_steps import random_loss
from mmengine.registry import init_default_scope
from mmpretrain.models import (
    DistilledVisionTransformer,
    ImageClassifier,
    VisionTransformer,
)
from torch import nn
from torch.nn.functional import interpolate

from mmtlalign.backbones.necks import SimpleFeaturePyramid
from mmtlalign.backbones.windowed_vit import (
    WindowedViT,
    window_partition,
    window_unpartition,
)
from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.errors import InputError
from mmtlalign.tracing.support import backbone_spec

ARCH = dict(embed_dims=16, num_layers=8, num_heads=2, feedforward_channels=32)


def small(cls=WindowedViT, seed=0, **kwargs):
    """A backbone whose every parameter is random."""
    torch.manual_seed(seed)
    settings = dict(arch=ARCH, img_size=32, patch_size=8)
    net = cls(**{**settings, **kwargs})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.3)
    return net


def dense_oracle(net, image):
    """The same network by dense attention whose mask says who shares a window."""
    patch = net.patch_embed.projection
    h, w = (-(-side // patch.kernel_size[0]) for side in image.shape[-2:])
    below, right = h * 8 - image.shape[-2], w * 8 - image.shape[-1]
    filled = nn.functional.pad(image, (0, right, 0, below))
    x = patch(filled).flatten(2).transpose(1, 2)
    table = net.pos_embed.reshape(1, *net.patch_resolution, -1).permute(0, 3, 1, 2)
    # mmpretrain resizes in single precision.
    table = interpolate(table.float(), (h, w), mode='bicubic', align_corners=False)
    x = x + table.permute(0, 2, 3, 1).reshape(1, h * w, -1)
    rows, columns = torch.arange(h * w) // w, torch.arange(h * w) % w
    home = torch.stack([rows // net.window_size, columns // net.window_size])
    together = (home[:, :, None] == home[:, None, :]).all(0)
    for index, layer in enumerate(net.layers):
        attn = layer.attn
        q, k, v = attn.qkv(layer.ln1(x)).chunk(3, dim=-1)
        outs = []
        for head in range(attn.num_heads):
            part = slice(head * attn.head_dims, (head + 1) * attn.head_dims)
            weights = q[..., part] @ k[..., part].transpose(1, 2)
            weights = weights / attn.head_dims**0.5
            if index not in net.global_layers:
                weights = weights.masked_fill(~together, -torch.inf)
            outs.append(weights.softmax(-1) @ v[..., part])
        x = x + attn.proj(torch.cat(outs, -1))
        x = x + layer.ffn.layers(layer.ln2(x))
    return net.ln1(x).transpose(1, 2).reshape(len(x), -1, h, w)


@pytest.mark.parametrize('size', [(64, 64), (100, 167), (40, 104), (8, 8)])
@pytest.mark.parametrize('window', [3, 4])
def test_tokens_are_those_of_the_dense_oracle(size, window):
    # 64 px are 8x8 tokens: whole windows of 4, and windows of 3 that are filled up.
    net = small(window_size=window).double().eval()
    assert net.global_layers == (1, 3, 5, 7)
    image = torch.randn(2, 3, *size, dtype=torch.double)
    (given,) = net(image)
    expected = dense_oracle(net, image)
    assert given.shape == (2, 16, -(-size[0] // 8), -(-size[1] // 8))
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-12)


def test_a_token_moves_only_those_of_its_window():
    net = small(window_size=3, global_layers=()).eval()
    image = torch.randn(1, 3, 64, 88)  # 8x11 tokens
    moved = image.clone()
    moved[:, :, 5 * 8 : 6 * 8, 9 * 8 : 10 * 8] += 1  # token (5, 9)
    changed = (net(image)[0] != net(moved)[0]).any(1)[0]
    expected = torch.zeros(8, 11, dtype=torch.bool)
    expected[3:6, 9:] = True  # a window of 3x2: its third column does not exist
    assert changed.equal(expected)


def test_all_layers_global_is_the_stock_network():
    net = small(global_layers=range(8)).eval()
    stock = small(VisionTransformer, out_type='featmap', with_cls_token=False)
    stock.load_state_dict(net.state_dict())
    stock.eval()
    image = torch.randn(1, 3, 50, 77)
    assert stock(image)[0].equal(net(image)[0])


def test_names_and_shapes_are_those_of_the_stock_network():
    stock = small(VisionTransformer, out_type='featmap', with_cls_token=False)
    given = {n: v.shape for n, v in small().state_dict().items()}
    assert given == {n: v.shape for n, v in stock.state_dict().items()}


def test_windows_come_back_and_say_what_exists():
    tokens = torch.randn(2, 35, 3, 4)
    windows, real = window_partition(tokens, (5, 7), 3)
    assert windows.shape == (12, 9, 3, 4) and real.shape == (12, 1, 1, 9)
    assert window_unpartition(windows, (5, 7), 3).equal(tokens)
    assert real.sum() == 2 * 35
    assert windows[~real[:, 0, 0]].eq(0).all()
    assert window_partition(tokens[:, :12], (2, 6), 2)[1] is None


@pytest.mark.parametrize('drop', [0.0, 0.3])
def test_checkpointing_changes_nothing(drop):
    image = torch.randn(2, 3, 40, 72)
    results = []
    for with_cp in (False, True):
        net = small(window_size=3, drop_path_rate=drop, with_cp=with_cp)
        assert net.train() is net
        torch.manual_seed(1)
        (out,) = net(image)
        random_loss(out).backward()
        results.append([out.detach(), *(p.grad for p in net.parameters())])
    assert all(a.equal(b) for a, b in zip(*results))
    assert all(tensor.isfinite().all() for tensor in results[0])


def test_checkpointing_keeps_less():
    def kept(with_cp):
        count = 0

        def pack(tensor):
            nonlocal count
            count += tensor.numel()
            return tensor

        net = small(window_size=3, with_cp=with_cp).train()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            net(torch.randn(1, 3, 64, 64))
        return count

    assert kept(True) < kept(False) / 5


def test_attention_is_the_fused_one_on_windows():
    net, shapes = small(window_size=3, global_layers=(7,)).eval(), []
    fused = nn.functional.scaled_dot_product_attention
    for layer in net.layers:
        assert layer.attn.scaled_dot_product_attention is fused

        def record(query, *args, **kwargs):
            shapes.append(tuple(query.shape))
            return fused(query, *args, **kwargs)

        layer.attn.scaled_dot_product_attention = record
    net(torch.randn(2, 3, 64, 64))  # 8x8 tokens, 3x3 windows of 9
    assert shapes == [(18, 2, 9, 8)] * 7 + [(2, 2, 64, 8)]


def test_stochastic_depth_takes_whole_pictures():
    net = small(window_size=2, global_layers=(), drop_path_rate=0.9).train()
    for name, layer in net.layers.named_children():
        if name != '7':  # the last, whose rate is 0.9
            layer.attn.out_drop, layer.ffn.dropout_layer = nn.Identity(), nn.Identity()
    net.layers[7].ffn.dropout_layer = nn.Identity()
    torch.manual_seed(0)
    kept = {}
    net.layers[7].attn.register_forward_hook(lambda m, i, out: kept.update(out=out))
    net(torch.randn(30, 3, 32, 32))
    dropped = kept['out'].eq(0).all(-1)  # (30, 16)
    assert dropped.all(1).eq(dropped.any(1)).all()
    assert 15 < dropped.all(1).sum() < 30


def classifier(distilled=False):
    init_default_scope('mmpretrain')
    cls = DistilledVisionTransformer if distilled else VisionTransformer
    head = dict(type='VisionTransformerClsHead', num_classes=3, in_channels=16)
    backbone = dict(type=cls.__name__, arch=ARCH, img_size=32, patch_size=8)
    if distilled:
        head = dict(type='DeiTClsHead', num_classes=3, in_channels=16)
    model = ImageClassifier(backbone=backbone, head=head)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize('distilled, extra', [(False, 1), (True, 2)])
@pytest.mark.parametrize('img_size', [32, 48])
def test_takes_a_classifier_whole(distilled, extra, img_size, tmp_path):
    model = classifier(distilled)
    file = tmp_path / 'epoch_300.pth'
    torch.save(dict(state_dict=model.state_dict()), file)
    net = small(img_size=img_size)
    lines = load_backbone(net, str(file))
    given, own = model.backbone.state_dict(), net.state_dict()
    assert f'{len(own)} of {len(own)} tensors' in lines[0]
    assert given.keys() - own.keys() <= {'cls_token', 'dist_token'}
    for name in own.keys() - {'pos_embed'}:
        assert own[name].equal(given[name])
    expected = given['pos_embed'][:, extra:]
    if img_size == 48:  # 4x4 positions become 6x6
        expected = expected.reshape(1, 4, 4, 16).permute(0, 3, 1, 2)
        expected = interpolate(expected, (6, 6), mode='bicubic', align_corners=False)
        expected = expected.flatten(2).transpose(1, 2)
        assert 'pos_embed resized from 4x4 to 6x6 tokens' in lines[1]
    assert own['pos_embed'].equal(expected)


def test_its_own_state_dict_loads():
    net, other = small(), small(seed=1)
    other.load_state_dict(copy.deepcopy(net.state_dict()), strict=True)
    assert all(a.equal(b) for a, b in zip(net.parameters(), other.parameters()))


def test_an_incomplete_classifier_is_refused(tmp_path):
    state = classifier().state_dict()
    del state['backbone.layers.3.attn.qkv.weight']
    torch.save(dict(state_dict=state), tmp_path / 'part.pth')
    with pytest.raises(InputError, match=r'layers\.3\.attn\.qkv\.weight'):
        load_backbone(small(), str(tmp_path / 'part.pth'))


def test_depths_for_layer_decay():
    net = small()
    depths = {n: net.get_layer_depth(n) for n, _ in net.named_parameters()}
    assert {total for _, total in depths.values()} == {10}
    assert depths['pos_embed'][0] == depths['patch_embed.projection.weight'][0] == 0
    assert depths['layers.0.ln1.weight'][0] == 1
    assert depths['layers.7.ffn.layers.1.bias'][0] == 8
    assert depths['ln1.weight'][0] == 9
    assert net.get_layer_depth('neck.x', 'backbone.')[0] == 9


@pytest.mark.parametrize('settings', [
    dict(window_size=0),
    dict(global_layers=[8]),
    dict(out_indices=[3]),
    dict(with_cls_token=True),
    dict(out_type='raw'),
])  # fmt: skip
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        small(**settings)


def test_labels_are_not_traced_through_it():
    with pytest.raises(TypeError, match='pretrain VisionTransformer'):
        backbone_spec(small())


# --------------------------------------------------------------- the pyramid


@pytest.mark.parametrize('size, expected', [
    ((13, 21), [(52, 84), (26, 42), (13, 21), (6, 10), (3, 5)]),
    ((2, 3), [(8, 12), (4, 6), (2, 3), (1, 1), (1, 1)]),
])  # fmt: skip
def test_pyramid_sizes_and_gradients(size, expected):
    neck = SimpleFeaturePyramid(16, out_channels=8)
    maps = neck((torch.randn(2, 16, *size),))
    assert [m.shape for m in maps] == [(2, 8, *pair) for pair in expected]
    assert maps[4].equal(maps[3][:, :, ::2, ::2])
    sum(m.square().mean() for m in maps).backward()
    assert all(p.grad is not None for p in neck.parameters())


def test_every_level_is_normalised_over_channels():
    neck = SimpleFeaturePyramid(16, out_channels=8)
    for level in neck((torch.randn(1, 16, 4, 6),)):
        assert level.mean(1).abs().max() < 1e-5
        assert (level.var(1, unbiased=False) - 1).abs().max() < 1e-3


def test_level_four_is_the_maximum_of_pixels():
    neck = SimpleFeaturePyramid(16, out_channels=8)
    image = torch.randn(1, 16, 4, 6)
    pooled = image.reshape(1, 16, 2, 2, 3, 2).amax((3, 5))
    # The first layer of level 3 is the maximum; behind it levels 2 and 3 are alike.
    neck.stages[2].load_state_dict(
        {str(int(n[0]) - 1) + n[1:]: v for n, v in neck.stages[3].state_dict().items()}
    )
    assert neck.stages[2](pooled).equal(neck((image,))[3])


def test_parameters_of_the_pyramid_of_vit_base():
    # ViTDet's, counted by hand: deconvolutions, their norm, 1x1 and 3x3 with norms.
    deconvolutions = (768 * 384 * 4 + 384) * 2 + 384 * 2 + 384 * 192 * 4 + 192
    pointwise = (192 + 384 + 768 + 768) * 256
    rest = 4 * (2 * 256 + 256 * 256 * 9 + 2 * 256)
    neck = SimpleFeaturePyramid(768)
    count = sum(p.numel() for p in neck.parameters())
    assert count == deconvolutions + pointwise + rest


def test_pyramid_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match='multiple of four'):
        SimpleFeaturePyramid(18)
    with pytest.raises(ValueError, match='2 maps'):
        SimpleFeaturePyramid(16)([torch.randn(1, 16, 4, 4)] * 2)
