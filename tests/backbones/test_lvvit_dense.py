"""LV-ViT for dense tasks: maps of layers, the neck, the official code's two quirks."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmtlalign.backbones.lvvit import LVViT
from mmtlalign.backbones.necks import LVViTNeck
from mmtlalign.checkpoint.load import load_backbone
from mmtlalign.errors import InputError

ARCH = dict(
    embed_dims=16,
    num_layers=5,
    num_heads=2,
    feedforward_channels=48,
    skip_lam=2,
    stem_channels=8,
)


def small(**options):
    torch.manual_seed(0)
    net = LVViT(**dict(dict(arch=ARCH, img_size=32, patch_size=8), **options))
    net.eval()
    return net


def spread(net, seed=0):
    """Weights and statistics that make every mistake visible."""
    torch.manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            tensor.normal_(std=0.3)
            if name.endswith('running_var'):
                tensor.abs_().add_(0.5)
    return net


# --------------------------------------------------- options of the dense network


def dropouts(layer):
    """Rates in the feed-forward, and everywhere else in the layer."""
    rates = {n: m.p for n, m in layer.named_modules() if isinstance(m, nn.Dropout)}
    inside = [rate for name, rate in rates.items() if name.startswith('ffn.')]
    return inside, [rate for name, rate in rates.items() if not name.startswith('ffn.')]


@pytest.mark.parametrize('drop_rate', [0.0, 0.25])
def test_dropout_of_the_feed_forward_grows_over_depth(drop_rate):
    net = small(mlp_drop_rate=0.4, drop_rate=drop_rate)
    for i, layer in enumerate(net.layers):
        inside, outside = dropouts(layer)
        assert inside == pytest.approx(2 * [0.1 * i])  # after each linear layer
        assert outside and set(outside) == {drop_rate}
    for layer in small(drop_rate=drop_rate).layers:
        inside, outside = dropouts(layer)
        assert {*inside, *outside} == {drop_rate}
    with pytest.raises(ValueError, match='mlp_drop_rate=1.5.*0 to 1'):
        small(mlp_drop_rate=1.5)


def test_dropout_acts_in_training_alone():
    images = torch.randn(2, 3, 32, 32)
    plain, dropped = small(), small(mlp_drop_rate=0.4)
    assert plain(images)[0].equal(dropped(images)[0])
    dropped.train()
    dropped.patch_embed.eval()  # the statistics of its norms
    assert not plain(images)[0].equal(dropped(images)[0])
    none = small(mlp_drop_rate=0.0, drop_path_rate=0.0)
    none.train()
    none.patch_embed.eval()
    assert plain(images)[0].equal(none(images)[0])


def test_branches_are_divided_by_the_given_number():
    with torch.device('meta'):
        assert {x.skip_lam for x in LVViT('large').layers} == {3}
        assert {x.skip_lam for x in LVViT('large', skip_lam=1).layers} == {1}
    images = torch.randn(1, 3, 32, 32)
    other = small(arch=dict(ARCH, skip_lam=1))
    assert small(skip_lam=1)(images)[0].equal(other(images)[0])
    assert not small()(images)[0].equal(other(images)[0])
    assert ARCH['skip_lam'] == 2 and LVViT.arch_zoo['large']['skip_lam'] == 3
    with pytest.raises(ValueError, match='skip_lam=0.*positive'):
        small(skip_lam=0)


def save(net, file):
    torch.save(
        dict(state_dict={f'backbone.{k}': v for k, v in net.state_dict().items()}),
        file,
    )
    return str(file)


def test_taps_are_the_layers_of_the_classifier(tmp_path):
    """No norm behind any of them, and the classifier's is left out of its file."""
    given = spread(small())
    dense = small(
        out_type='featmap', out_indices=(0, 1, 3, 4), final_norm=False, skip_lam=2
    )
    file = save(given, tmp_path / 'pre.pth')
    (line,) = load_backbone(dense, file)
    count = len(dense.state_dict())
    assert f'{count} of {count} tensors' in line
    assert given.state_dict().keys() - dense.state_dict().keys() == {
        'ln1.weight',
        'ln1.bias',
    }
    kept = []
    for layer in given.layers:
        layer.register_forward_hook(lambda m, i, out: kept.append(out))
    images = torch.randn(2, 3, 40, 51)
    given(images)
    maps = dense(images)
    assert [m.shape for m in maps] == 4 * [(2, 16, 5, 7)]
    for i, taken in zip((0, 1, 3, 4), maps):
        assert taken.flatten(2).mT.equal(kept[i][:, 1:])


def test_only_a_network_without_final_norm_leaves_it_out(tmp_path):
    file = save(small(final_norm=False), tmp_path / 'dense.pth')
    with pytest.raises(InputError, match='2 tensors of the model.*ln1.bias'):
        load_backbone(small(), file)
    load_backbone(small(final_norm=False), file)
    # What is no norm of the end is still too much.
    with pytest.raises(InputError, match='1 backbone tensors.*layers.4.gamma'):
        net = small()
        net.layers[4].register_parameter('gamma', nn.Parameter(torch.ones(1)))
        load_backbone(small(final_norm=False), save(net, tmp_path / 'more.pth'))


# ---------------------------------------------------------------------- the neck


def side(x, weights, number, factor):
    """One of four branches by the text: enlarge, 1 x 1; norm and ReLU after each."""

    def bn_relu(x, unit):
        names = 'running_mean', 'running_var', 'weight', 'bias'
        mean, var, gain, bias = (
            weights[f'sides.{number}.{unit}.norm.{name}'][:, None, None]
            for name in names
        )
        return ((x - mean) / (var + 1e-5).sqrt() * gain + bias).clamp(min=0)

    unit = 0
    if factor > 1:
        kernel = weights[f'sides.{number}.0.conv.weight']  # (in, out, f, f)
        # Patches of the kernel's size do not overlap.
        x = torch.einsum('bihw,iors->bohrws', x, kernel)
        x = bn_relu(x.flatten(4, 5).flatten(2, 3), 0)
        unit = 1
    kernel = weights[f'sides.{number}.{unit}.conv.weight'][..., 0, 0]
    return bn_relu(torch.einsum('bihw,oi->bohw', x, kernel), unit)


@pytest.mark.parametrize('size', [(4, 4), (3, 5), (1, 1)])
def test_neck_is_that_of_the_text(size):
    neck = spread(LVViTNeck(6, last_channels=10)).double().eval()
    maps = [torch.randn(2, 6, *size).double() for _ in range(4)]
    outs, weights = neck(tuple(maps)), neck.state_dict()
    assert [o.shape[1] for o in outs] == [6, 6, 6, 10]
    for i, (x, factor) in enumerate(zip(maps, (4, 2, 1, 1))):
        assert tuple(outs[i].shape[2:]) == tuple(factor * s for s in size)
        torch.testing.assert_close(outs[i], side(x, weights, i, factor))


def test_neck_learns_and_has_no_biases_but_those_of_norms():
    neck = LVViTNeck(6, last_channels=10, norm_cfg=dict(type='GN', num_groups=2))
    outs = neck(tuple(torch.randn(2, 6, 3, 5) for _ in range(4)))
    sum(F.mse_loss(o, torch.ones_like(o)) for o in outs).backward()
    convolutions = [m for m in neck.modules() if hasattr(m, 'kernel_size')]
    norms = [m for m in neck.modules() if isinstance(m, nn.GroupNorm)]
    assert len(convolutions) == len(norms) == 6
    assert all(m.bias is None for m in convolutions)
    assert all(p.grad.abs().sum() > 0 for p in neck.parameters())


def test_neck_wants_four_maps():
    with pytest.raises(ValueError, match='got 3 maps.*four in out_indices'):
        LVViTNeck(6)(tuple(torch.zeros(2, 6, 3, 3) for _ in range(3)))


def test_neck_by_its_name_of_before():
    with pytest.warns(FutureWarning, match='SideLayers is called mmtlalign.LVViTNeck'):
        neck = MODELS.build(dict(type='mmtlalign.SideLayers', in_channels=6))
    assert type(neck) is LVViTNeck and next(iter(neck.state_dict())).startswith('sides')


@pytest.mark.parametrize('amp', [False, True])
def test_dense_training_step(amp):
    """Every parameter gets a gradient, at a size of no whole patches too."""
    init_default_scope('mmseg')
    net = MODELS.build(
        dict(
            type='mmtlalign.LVViT', arch=ARCH, img_size=32, patch_size=8,
            out_type='featmap', out_indices=(1, 2, 3, 4), final_norm=False,
            drop_path_rate=0.1, mlp_drop_rate=0.1,
        )
    )  # fmt: skip
    neck = MODELS.build(dict(type='mmtlalign.LVViTNeck', in_channels=16))
    with torch.autocast('cpu', torch.bfloat16, enabled=amp):
        outs = neck(net(torch.randn(2, 3, 33, 50)))
    assert [o.shape for o in outs] == [
        (2, 16, 20, 28),
        (2, 16, 10, 14),
        (2, 16, 5, 7),
        (2, 2048, 5, 7),
    ]
    assert all(o.dtype == (torch.bfloat16 if amp else torch.float32) for o in outs)
    sum(o.float().square().mean() for o in outs).backward()
    parameters = [*net.parameters(), *neck.parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)
