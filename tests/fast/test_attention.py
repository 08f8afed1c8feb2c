"""Attention by either kernel has one result; the faster one is what was measured."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from contract_steps import random_loss
from mmcv.cnn.bricks.drop import DropPath
from mmcv.cnn.bricks.transformer import PatchMerging as MMCVPatchMerging
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.models.utils import ShiftWindowMSA
from repository import tool
from small_backbones import randomise
from tiny_run import run_tool, write_config, write_images

from mmtlalign.errors import InputError
from mmtlalign.fast import attention
from mmtlalign.fast.attention import (
    AttentionKernel,
    choose_kernel,
    explicit_attention,
    fused_attention,
)
from mmtlalign.fast.hooks import FastAttentionHook, speed_up
from mmtlalign.fast.modules import (
    FAST,
    FastDropPath,
    FastMultiheadAttention,
    FastWindowMSA,
    make_fast,
    share_windows,
)
from mmtlalign.mixing.token_mix import TokenCutMix

VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
    img_size=32,
    patch_size=8,
)
SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=16, depths=[2, 2], num_heads=[1, 2]),
    out_indices=(1,),
    img_size=32,
    window_size=4,
    pad_small_map=True,
    drop_path_rate=0.0,
)
SIZES = dict(VisionTransformer=32, SwinTransformer=44)


def build(settings):
    init_default_scope('mmpretrain')
    model = randomise(MODELS.build(copy.deepcopy(settings)))
    model.train()
    return model


def images(settings):
    size = SIZES[settings['type']]
    return torch.randn(2, 3, size, size)


BIASES = dict(none=None, shared=(3, 5, 5), windows=(2, 3, 5, 5))


@pytest.mark.parametrize('shape', BIASES.values(), ids=BIASES)
@pytest.mark.parametrize('scale', [None, 0.3])
def test_both_kernels_have_one_result(shape, scale):
    leaves = [torch.randn(4, 3, 5, 8, dtype=torch.double) for _ in range(3)]
    if shape:
        leaves.append(torch.randn(shape, dtype=torch.double))
    found = {}
    for kernel in ('fused', 'explicit'):
        given = [leaf.clone().requires_grad_() for leaf in leaves]
        attend = dict(fused=fused_attention, explicit=explicit_attention)[kernel]
        out = attend(*given, scale=scale)
        out.pow(2).sum().backward()
        found[kernel] = [out, *(leaf.grad for leaf in given)]
    for ours, theirs in zip(*found.values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    # Against the formula: windows of an image one after the other.
    query, key, value = leaves[:3]
    logits = (8**-0.5 if scale is None else scale) * query @ key.mT
    if shape:
        bias = leaves[3] if len(shape) == 3 else leaves[3].repeat(2, 1, 1, 1)
        logits = logits + bias
    torch.testing.assert_close(found['fused'][0], logits.softmax(-1) @ value)


def test_explicit_shows_its_weights_before_dropout():
    query, key, value = (torch.randn(2, 3, 5, 8) for _ in range(3))
    seen = []
    attend = AttentionKernel('explicit')
    out = attend(query, key, value, dropout_p=0.5, on_weights=seen.append)
    (weights,) = seen
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5))
    assert not torch.allclose(out, weights @ value)


def test_no_such_kernel():
    with pytest.raises(ValueError, match="kernel='flash'.*'fused'"):
        AttentionKernel('flash')


def test_rule_follows_the_file_of_measurements(monkeypatch, tmp_path):
    rows = [
        dict(device='cpu', dtype='float32', bias=False, tokens=n, explicit_over_fused=t)
        for n, t in ((50, 0.8), (200, 1.2))
    ]
    file = tmp_path / 'times.json'
    file.write_text(json.dumps(dict(cases=rows)))
    monkeypatch.setattr(attention, 'MEASURED', attention.read_times(file))

    def chosen(tokens, dtype=torch.float32, bias=None):
        query = torch.empty(1, 1, tokens, 8, dtype=dtype)
        return choose_kernel(query, query, bias)

    # The nearest on a logarithmic scale, whose middle is 100.
    assert [chosen(n) for n in (10, 99, 101, 300)] == ['explicit'] * 2 + ['fused'] * 2
    assert chosen(10, torch.bfloat16) == 'fused'  # not measured
    assert chosen(10, bias=torch.zeros(1, 10, 10)) == 'fused'
    for saved, kernel in ((0.97, 'fused'), (0.1, 'explicit')):
        rows[1]['explicit_over_fused'] = saved
        file.write_text(json.dumps(dict(cases=rows)))
        monkeypatch.setattr(attention, 'MEASURED', attention.read_times(file))
        assert chosen(300) == kernel
    assert [chosen(n) for n in (1024, 1025)] == ['explicit', 'fused']


def test_windows_of_a_device_that_nobody_has_measured_stay_as_they_are():
    query = torch.empty(1, 1, 49, 8, device='meta')
    assert choose_kernel(query, query, torch.empty(1, 49, 49)) == 'explicit'
    assert choose_kernel(query, query) == 'fused'
    long = torch.empty(1, 1, 1025, 8, device='meta')
    assert choose_kernel(long, long, torch.empty(1, 1025, 1025)) == 'fused'


def test_measurements_of_the_package_are_whole():
    found = json.loads(attention.TIMES.read_text())
    assert 'thread' in found['machines']['cpu']
    for row in found['cases']:
        low, high = row['middle_half']
        assert 0 < low <= row['explicit_over_fused'] <= high
    kinds = {(device, dtype) for device, dtype, _ in attention.MEASURED}
    assert {('cpu', torch.float32), ('cpu', torch.bfloat16)} <= kinds


def test_tool_replaces_the_cases_of_its_device(tmp_path, capsys):
    file = tmp_path / 'times.json'
    other = dict(device='cuda', dtype='float32', bias=True, tokens=49)
    old = dict(other, device='cpu', tokens=3)
    file.write_text(json.dumps(dict(machines=dict(cuda='a GPU'), cases=[old, other])))
    measure = tool('benchmarks/measure_kernels')
    measure.TOKENS = {True: [4], False: [5]}
    words = '--dtypes float32 --repeats 1 --elements 100 --out'
    measure.main([*words.split(), str(file)])
    found = json.loads(file.read_text())
    cases = {(row['device'], row['bias'], row['tokens']) for row in found['cases']}
    assert cases == {('cuda', True, 49), ('cpu', True, 4), ('cpu', False, 5)}
    assert found['machines']['cuda'] == 'a GPU'
    assert 'no bias, 5 tokens: explicit over fused' in capsys.readouterr().out


@pytest.mark.parametrize('settings', [VIT, SWIN], ids=lambda s: s['type'])
@pytest.mark.parametrize('kernel', ['auto', 'fused', 'explicit'])
def test_fast_model_has_outputs_and_gradients_of_the_stock_one(settings, kernel):
    stock = build(settings)
    fast = copy.deepcopy(stock)
    layers = 2 if settings is VIT else 4
    assert speed_up(fast, kernel) == layers == speed_up(fast, kernel)
    assert fast.state_dict().keys() == stock.state_dict().keys()
    kind = FastMultiheadAttention if settings is VIT else FastWindowMSA
    assert sum(type(module) is kind for module in fast.modules()) == layers
    batch = images(settings)
    for model in (stock, fast):
        model.zero_grad()
        random_loss(model(batch)[-1]).backward()
    for (name, ours), theirs in zip(fast.named_parameters(), stock.parameters()):
        # The stock network is off by 1.5e-5 of it itself, compared with float64.
        scale = theirs.grad.abs().max()
        assert scale > 0, name
        assert (ours.grad - theirs.grad).abs().max() < 3e-5 * scale, name
    assert not any(type(module) in FAST for module in fast.modules())
    stock.eval(), fast.eval()
    torch.testing.assert_close(fast(batch)[-1], stock(batch)[-1], rtol=1e-5, atol=1e-5)
    if settings is SWIN:
        assert torch.equal(fast(batch)[-1], stock(batch)[-1])


@pytest.mark.parametrize(
    'size, pads',
    # Filled windows and single ones; maps that are padded or smaller than a window.
    [((32, 32), True), ((32, 32), False), ((32, 64), False)]
    + [((16, 48), True), ((24, 40), True), ((16, 16), True)],
)
def test_windows_of_any_map_are_the_stock_ones_to_the_bit(size, pads):
    stock = build(dict(SWIN, pad_small_map=pads))
    ours = copy.deepcopy(stock)
    for module in ours.modules():
        if isinstance(module, ShiftWindowMSA):
            make_fast(module)
    share_windows(ours)
    batch = torch.randn(2, 3, *size)
    for _ in range(2):
        outs = [net(batch)[-1] for net in (stock, ours)]
        assert torch.equal(*outs)
        grads = [
            torch.autograd.grad(out.pow(2).sum(), list(net.parameters()))
            for out, net in zip(outs, (stock, ours))
        ]
        for mine, theirs in zip(*grads, strict=True):
            assert torch.equal(mine, theirs)


def test_merging_is_the_stock_one_to_the_bit():
    stock = MMCVPatchMerging(8, 16)
    ours = copy.deepcopy(stock)
    make_fast(ours)
    for size in ((4, 6), (5, 6), (4, 7)):
        tokens = torch.randn(2, size[0] * size[1], 8)
        (out, shape), (wanted, other) = ours(tokens, size), stock(tokens, size)
        assert torch.equal(out, wanted) and tuple(shape) == tuple(other)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('shape', [(64, 5, 3), (64, 2, 3, 4)])
def test_dropped_paths_are_those_of_the_stock_module(shape, dtype):
    stock = DropPath(0.3)
    ours = copy.deepcopy(stock)
    assert not make_fast(ours)
    assert type(ours) is FastDropPath and type(stock) is DropPath
    found = []
    for module in (ours, stock):
        torch.manual_seed(0)
        path = torch.randn(shape, dtype=dtype).requires_grad_()
        out = module(path)
        out.pow(2).sum().backward()
        found.append((out, path.grad))
    for mine, theirs in zip(*found):
        gone = (theirs == 0).flatten(1).all(dim=1)
        assert 5 < gone.sum() < 40
        if dtype is torch.float32:
            torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=0)
        else:
            assert torch.equal(mine, theirs)
    assert ours.eval()(path) is path


def test_gradients_of_a_plain_transformer_are_the_stock_ones_to_the_bit():
    stock = build(VIT)
    fast = copy.deepcopy(stock)
    assert all(make_fast(layer.attn) for layer in fast.layers)
    batch = images(VIT)
    for model in (stock, fast):
        random_loss(model(batch)[-1]).backward()
    for ours, theirs in zip(fast.parameters(), stock.parameters()):
        assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize('settings', [VIT, SWIN], ids=lambda s: s['type'])
def test_shares_do_not_depend_on_the_kernel(settings):
    head = dict(type='mmtlalign.TLAlignLinearClsHead', num_classes=4, in_channels=16)
    model = dict(type='mmtlalign.MixClassifier', backbone=settings, head=head)
    if settings is SWIN:
        head['in_channels'] = 32
        model['neck'] = dict(type='GlobalAveragePooling')
    batch = torch.randn(4, 3, 32, 32)
    patch = 8 if settings is VIT else 4
    mix = TokenCutMix(patch_size=patch).mix(batch, torch.eye(4))
    shares, kernels_ = [], ('stock', 'fused', 'explicit')
    for kernel in kernels_:
        torch.manual_seed(0)
        net = build(model)
        if kernel != 'stock':
            speed_up(net, kernel)
        with net.head.trace(net.backbone, mix) as seen:
            net.extract_feat(mix.images)
        shares.append(net.head.partner_shares(mix, seen)[0])
    assert (shares[0] - mix.area()).abs().max() > 1e-4
    for share in shares[1:]:
        torch.testing.assert_close(share, shares[0], rtol=0, atol=1e-6)


def hook_on(model, kernel='auto'):
    lines = []
    runner = SimpleNamespace(model=model, logger=SimpleNamespace(info=lines.append))
    FastAttentionHook(kernel).before_run(runner)
    return lines


@pytest.mark.parametrize(
    'backbone, kernel, message',
    [
        (dict(type='ResNet', depth=18), 'auto', 'no supported attention'),
        (VIT, 'flash', "kernel='flash'"),
    ],
)
def test_hook_says_what_it_cannot_do(backbone, kernel, message):
    with pytest.raises(InputError, match=message):
        hook_on(build(backbone), kernel)


def test_hook_serves_a_segmentor():
    model = dict(
        type='mmseg.EncoderDecoder',
        backbone=dict(SWIN, type='mmpretrain.SwinTransformer'),
        decode_head=dict(
            type='mmseg.FCNHead', in_channels=32, in_index=0, channels=4, num_classes=2
        ),
    )
    pytest.importorskip('mmseg.models')
    model = build(model)
    assert '4 attentions train' in hook_on(model)[0]
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(FastWindowMSA) == 4


def test_one_line_in_a_config(monkeypatch, tmp_path):
    text = (
        "custom_hooks = [dict(type='mmtlalign.FastAttentionHook', kernel='explicit')]"
    )
    config = write_config(tmp_path, write_images(tmp_path / 'data'), text)
    calls, stock = [], torch.nn.functional.scaled_dot_product_attention

    def count(*args, **kwargs):
        calls.append(args)
        return stock(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention', count)
    run_tool(monkeypatch, 'train', config, '--work-dir', tmp_path / 'work')
    assert (tmp_path / 'work/epoch_2.pth').exists()
    assert not calls
