"""Layers and losses without a compiled mmcv: against plain loops, and at the edges."""

import mmcv.ops
import mmcv_references as references
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmcv.ops.psa_mask import PSAMaskFunction
from mmcv_stand_in import TOLERANCE, compare, run

DTYPES = pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
HALF = pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
OLD_TORCH = torch.__version__.startswith('2.1.')
pytestmark = pytest.mark.usefixtures('ours')

# Kernel; stride, padding, dilation, groups, groups of offsets.
CONVOLUTIONS = pytest.mark.parametrize(
    'kernel,sizes',
    [
        ((3, 3), ((1, 1), (1, 1), (1, 1), 1, 1)),
        ((3, 2), ((2, 1), (1, 2), (1, 1), 2, 1)),
        ((2, 3), ((1, 2), (0, 1), (2, 1), 1, 2)),
        ((1, 1), ((1, 1), (0, 0), (1, 1), 4, 4)),
    ],
)


def convolution_inputs(kernel, stride, padding, dilation, groups, deform_groups):
    """Input, offset, mask, weight, bias."""
    x, weight = torch.randn(2, 4, 6, 7), torch.randn(4, 4 // groups, *kernel)
    shape = F.conv2d(x, weight, None, stride, padding, dilation, groups).shape[2:]
    samples = deform_groups * kernel[0] * kernel[1]
    offset = torch.randn(2, 2 * samples, *shape)
    return x, offset, torch.rand(2, samples, *shape), weight, torch.randn(4)


@DTYPES
@CONVOLUTIONS
def test_deform_conv(dtype, kernel, sizes):
    x, offset, mask, weight, _ = convolution_inputs(kernel, *sizes)
    compare(
        lambda x, o, w: mmcv.ops.deform_conv2d(x, o, w, *sizes),
        lambda x, o, w: references.deform_conv(
            x, o, torch.ones_like(mask).to(x), w, None, *sizes
        ),
        [x, offset, weight],
        dtype,
    )


@DTYPES
@CONVOLUTIONS
@pytest.mark.parametrize('with_bias', [True, False])
def test_modulated_deform_conv(dtype, with_bias, kernel, sizes):
    *tensors, bias = convolution_inputs(kernel, *sizes)
    compare(
        lambda *t: mmcv.ops.modulated_deform_conv2d(*t, *sizes),
        lambda *t: references.deform_conv(*t, *sizes),
        [*tensors, bias if with_bias else None],
        dtype,
    )


PACKS = pytest.mark.parametrize(
    'pack', [mmcv.ops.DeformConv2dPack, mmcv.ops.ModulatedDeformConv2dPack]
)


@PACKS
def test_deform_conv_packs(pack):
    """Without shifts they are a convolution (modulated: half of one)."""
    module, x = pack(4, 6, 3, padding=1, bias=False), torch.randn(2, 4, 6, 7)
    share = 0.5 if pack is mmcv.ops.ModulatedDeformConv2dPack else 1
    right = share * F.conv2d(x, module.weight, padding=1)
    torch.testing.assert_close(module(x), right, rtol=1e-5, atol=1e-5)
    torch.nn.init.normal_(module.conv_offset.weight)
    module(x).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in module.parameters())


@PACKS
def test_deform_conv_packs_under_autocast(pack):
    module, x = pack(4, 6, 3, padding=1, bias=False), torch.randn(2, 4, 6, 7)
    with torch.autocast('cpu', torch.bfloat16):
        output = module(x)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), module(x), rtol=0.05, atol=0.05)
    output.float().square().sum().backward()
    assert module.weight.grad.isfinite().all()


@HALF
def test_deform_conv_in_half_precision(dtype):
    sizes = (1, 1, 1, 1, 1)
    *tensors, bias = convolution_inputs((3, 3), (1, 1), (1, 1), (1, 1), 1, 1)
    tensors = [t.to(dtype) for t in (*tensors, bias)]

    def operator(*t):
        return mmcv.ops.modulated_deform_conv2d(*t, *sizes)

    half, full = (run(operator, tensors, d) for d in (dtype, torch.float32))
    assert torch.equal(half[0], full[0].to(dtype))
    for mine, right in zip(half[1:], full[1:]):
        torch.testing.assert_close(mine, right.to(dtype), rtol=0.05, atol=0.05)


def test_deform_conv_of_tensors_that_are_not_contiguous():
    sizes = (1, 1, 1, 1, 1)
    *tensors, bias = convolution_inputs((3, 3), (1, 1), (1, 1), (1, 1), 1, 1)
    right = mmcv.ops.modulated_deform_conv2d(*tensors, bias, *sizes)
    turned = [t.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) for t in tensors]
    found = mmcv.ops.modulated_deform_conv2d(*turned, bias, *sizes)
    assert torch.equal(found, right)


@DTYPES
@pytest.mark.parametrize('kernel,groups,scale', [(3, 1, 2), (5, 2, 2), (1, 2, 3)])
def test_carafe(dtype, kernel, groups, scale):
    sizes = (kernel, groups, scale)
    masks = torch.randn(2, kernel**2 * groups, 3 * scale, 4 * scale)
    tensors = [torch.randn(2, 4, 3, 4), masks]
    compare(
        lambda *t: mmcv.ops.carafe(*t, *sizes),
        lambda *t: references.carafe(*t, *sizes),
        tensors,
        dtype,
    )
    naive = run(lambda *t: mmcv.ops.carafe_naive(*t, *sizes), tensors, dtype, False)
    same = run(lambda *t: mmcv.ops.carafe(*t, *sizes), tensors, dtype, False)
    assert torch.equal(naive[0], same[0])


def test_gradient_of_naive_carafe(ours):
    """mmcv's own function refuses tensors on a CPU, so the operator is called."""
    features, masks = torch.randn(2, 4, 3, 4), torch.randn(2, 18, 6, 8)
    inputs = [t.clone().requires_grad_() for t in (features, masks)]
    output = mmcv.ops.carafe(*inputs, 3, 2, 2)
    weights = torch.randn_like(output)
    right = torch.autograd.grad((output * weights).sum(), inputs)
    found = [torch.empty_like(t) for t in (features, masks)]
    ours.carafe_naive_backward(
        weights, features, masks, *found, kernel_size=3, group_size=2, scale_factor=2
    )
    assert all(map(torch.equal, found, right))


def test_carafe_pack():
    module = mmcv.ops.CARAFEPack(channels=8, scale_factor=2)
    output = module(torch.randn(2, 8, 5, 6))
    assert output.shape == (2, 8, 10, 12)
    output.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_carafe_of_tensors_that_are_not_contiguous():
    tensors = torch.randn(2, 4, 3, 4), torch.randn(2, 18, 6, 8)
    turned = [t.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) for t in tensors]
    right = mmcv.ops.carafe(*tensors, 3, 2, 2)
    assert torch.equal(mmcv.ops.carafe(*turned, 3, 2, 2), right)


@DTYPES
@pytest.mark.parametrize('psa_type', [0, 1])
@pytest.mark.parametrize('mask', [(3, 5), (7, 9), (2, 2)])
def test_psa_mask(dtype, psa_type, mask):
    compare(
        lambda x: PSAMaskFunction.apply(x, psa_type, mask),
        lambda x: references.psa_mask(x, psa_type, mask),
        [torch.randn(2, mask[0] * mask[1], 4, 5)],
        dtype,
    )


@DTYPES
@pytest.mark.parametrize('kernel', [1, 3])
def test_masked_conv(dtype, kernel):
    mask = (torch.rand(1, 6, 7) > 0.5).float()
    compare(
        lambda x, w, b: mmcv.ops.masked_conv2d(x, mask.to(x), w, b, kernel // 2),
        lambda x, w, b: references.masked_conv(x, mask.to(x), w, b, kernel // 2),
        [torch.randn(1, 3, 6, 7), torch.randn(4, 3, kernel, kernel), torch.randn(4)],
        dtype,
        backward=False,  # mmcv's function has none
    )


def test_masked_conv_module():
    module, x = mmcv.ops.MaskedConv2d(3, 4, 3, padding=1), torch.randn(1, 3, 6, 7)
    with torch.no_grad():
        full = module(x)
        all_of_it, none = torch.ones(1, 6, 7), torch.zeros(1, 6, 7)
        torch.testing.assert_close(module(x, all_of_it), full, rtol=1e-5, atol=1e-5)
        assert not module(x, none).any()
        with torch.autocast('cpu', torch.bfloat16):
            mixed = module(x, all_of_it)
    torch.testing.assert_close(mixed.float(), full, rtol=0.05, atol=0.05)


def attention_inputs():
    """Value, shapes, start of each level, locations, weights."""
    shapes = torch.tensor([[4, 5], [2, 3]])
    # Some locations lie outside.
    locations = torch.rand(2, 3, 2, 2, 2, 2) * 1.4 - 0.2
    weights = torch.rand(2, 3, 2, 2, 2)
    return torch.randn(2, 26, 2, 4), shapes, torch.tensor([0, 20]), locations, weights


@DTYPES
def test_deformable_attention(dtype):
    value, shapes, starts, locations, weights = attention_inputs()
    compare(
        lambda v, p, w: MultiScaleDeformableAttnFunction.apply(
            v, shapes, starts, p, w, 64
        ),
        lambda v, p, w: references.deformable_attention(v, shapes, p, w),
        [value, locations, weights],
        dtype,
    )


@HALF
def test_deformable_attention_in_half_precision(dtype):
    value, shapes, starts, locations, weights = attention_inputs()
    value = value.to(dtype).requires_grad_()
    output = MultiScaleDeformableAttnFunction.apply(
        value, shapes, starts, locations, weights, 64
    )
    assert output.dtype == dtype
    output.float().sum().backward()
    assert value.grad.dtype == dtype and value.grad.isfinite().all()


LOSSES = {
    'sigmoid': (mmcv.ops.sigmoid_focal_loss, references.sigmoid_focal_loss),
    'softmax': (mmcv.ops.softmax_focal_loss, references.softmax_focal_loss),
}
BOTH = pytest.mark.parametrize('kind', LOSSES)


@DTYPES
@BOTH
@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('gamma,alpha', [(2.0, 0.25), (0.0, 0.5), (1.5, 1.0)])
def test_focal_loss(dtype, kind, reduction, weighted, gamma, alpha):
    loss, reference = LOSSES[kind]
    # Of the sigmoid's, class 4 is background; mmcv has no weight for it.
    background = kind == 'sigmoid' and not weighted
    target = torch.tensor([0, 1, 2, 3, 4 if background else 0, 1])
    weight = torch.rand(4) if weighted else None

    def right(x):
        given = None if weight is None else weight.to(x)
        rows = reference(x, target, gamma, alpha, given)
        return {'none': rows, 'mean': rows.sum() / 6, 'sum': rows.sum()}[reduction]

    def found(x):
        given = None if weight is None else weight.to(x)
        return loss(x, target, gamma, alpha, given, reduction)

    # mmcv multiplies (N, C) by the gradient of (N,): none to test for its softmax.
    backward = not (kind == 'softmax' and reduction == 'none')
    compare(found, right, [torch.randn(6, 4) * 3], dtype, backward)


@BOTH
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_focal_loss_of_extreme_logits(kind, dtype, gamma):
    loss, _ = LOSSES[kind]
    x = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [60.0, -60.0], [0, 0]], dtype=dtype)
    x.requires_grad_()
    target = torch.zeros(4, dtype=torch.long)
    rows = loss(x, target, gamma, 0.25, None, 'none')
    worst = rows[1].max() if kind == 'sigmoid' else rows[1]
    assert worst.item() == pytest.approx(0.75 * references.LARGEST, rel=1e-2) or (
        worst.item() == pytest.approx(0.25 * references.LARGEST, rel=1e-2)
    )
    assert rows[0].abs().max() < 1e-6
    loss(x, target, gamma, 0.25, None, 'sum').backward()
    assert rows.isfinite().all() and x.grad.isfinite().all()


def test_softmax_focal_loss_leaves_rows_without_a_class_out():
    x, target = torch.randn(3, 4, requires_grad=True), torch.tensor([1, -1, 2])
    weight = torch.rand(4)
    rows = mmcv.ops.softmax_focal_loss(x, target, 2.0, 0.25, weight, 'none')
    assert rows[1] == 0 and (rows[[0, 2]] > 0).all()
    mmcv.ops.softmax_focal_loss(x, target, 2.0, 0.25, weight, 'sum').backward()
    assert not x.grad[1].any() and x.grad[[0, 2]].any()


@BOTH
def test_focal_loss_of_no_rows(kind):
    x = torch.zeros(0, 4, requires_grad=True)
    target = torch.zeros(0, dtype=torch.long)
    module = getattr(mmcv.ops, f'{kind.capitalize()}FocalLoss')
    loss = module(2.0, 0.25, reduction='sum')(x, target)
    loss.backward()
    assert loss == 0 and x.grad.shape == (0, 4)


@BOTH
@HALF
def test_focal_loss_in_half_precision(kind, dtype):
    loss, _ = LOSSES[kind]
    x, target = torch.randn(6, 4).to(dtype), torch.tensor([0, 1, 2, 3, 0, 1])
    half = loss(x, target, 2.0, 0.25, None, 'none')
    full = loss(x.float(), target, 2.0, 0.25, None, 'none')
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), full, rtol=0.05, atol=0.01)
    if dtype == torch.float16 and OLD_TORCH:
        return  # it has no autocast to float16 on a CPU
    with torch.autocast('cpu', dtype):
        mixed = loss(x.float(), target, 2.0, 0.25, None, 'none')
    torch.testing.assert_close(mixed, full, rtol=TOLERANCE[torch.float32], atol=1e-6)
