"""Pooling of regions without a compiled mmcv: against plain loops, and at the edges."""

import mmcv.ops
import mmcv_references as references
import pytest
import torch
from mmcv_stand_in import compare, regions, run

DTYPES = pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
pytestmark = pytest.mark.usefixtures('ours')


@DTYPES
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 1, 2, 3])
@pytest.mark.parametrize('scale', [0.25, 0.125, 1 / 7])
def test_roi_align(dtype, aligned, ratio, scale):
    rois = regions(5)
    size = (2, 3)
    compare(
        lambda x: mmcv.ops.roi_align(x, rois.to(x), size, scale, ratio, 'avg', aligned),
        lambda x: references.roi_align(x, rois.to(x), size, scale, ratio, aligned),
        [torch.randn(2, 3, 9, 11)],
        dtype,
    )


@DTYPES
@pytest.mark.parametrize('size,scale', [((2, 3), 0.25), ((3, 1), 1 / 7), ((7, 7), 1.0)])
def test_roi_pool(dtype, size, scale):
    rois = regions(6)
    compare(
        lambda x: mmcv.ops.roi_pool(x, rois.to(x), size, scale),
        lambda x: references.roi_pool(x, rois.to(x), size, scale),
        [torch.randn(2, 3, 9, 11)],
        dtype,
    )


def test_roi_pool_takes_the_first_of_equal_pixels():
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    mmcv.ops.roi_pool(x, torch.tensor([[0.0, 0, 0, 3, 3]]), 2, 1.0).sum().backward()
    right = torch.zeros(4, 4)
    right[::2, ::2] = 1
    assert torch.equal(x.grad[0, 0], right)


@DTYPES
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('shifted', [False, True])
def test_deform_roi_pool(dtype, ratio, shifted):
    rois = regions(4)
    # Inside the image: at its border the position has no derivative.
    rois[:, 1:] = rois[:, 1:].clamp(8, 36)
    rois[:, 3:] = torch.maximum(rois[:, 3:], rois[:, 1:3] + 4)
    size, sizes = (2, 3), (0.25, ratio, 0.1)
    offset = torch.randn(4, 2, *size) / 4 if shifted else None
    compare(
        lambda x, o: mmcv.ops.deform_roi_pool(x, rois.to(x), o, size, *sizes),
        lambda x, o: references.deform_roi_pool(x, rois.to(x), o, size, *sizes),
        [torch.randn(2, 3, 12, 12), offset],
        dtype,
    )


@pytest.mark.parametrize('pack', ['DeformRoIPoolPack', 'ModulatedDeformRoIPoolPack'])
def test_deform_roi_pool_modules(pack):
    module = getattr(mmcv.ops, pack)((2, 3), output_channels=3, deform_fc_channels=8)
    output = module(torch.randn(2, 3, 9, 9), regions(4, size=8))
    assert output.shape == (4, 3, 2, 3)
    output.sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def shifted(x, rois):
    offset = x.new_full((len(rois), 2, 2, 3), 0.125).requires_grad_()
    return mmcv.ops.deform_roi_pool(x, rois, offset, (2, 3), 0.25, 2)


OPERATORS = {
    'align': lambda x, rois: mmcv.ops.roi_align(x, rois, (2, 3), 0.25, 2),
    'align dense': lambda x, rois: mmcv.ops.roi_align(x, rois, (2, 3), 0.25, 0),
    'pool': lambda x, rois: mmcv.ops.roi_pool(x, rois, (2, 3), 0.25),
    'deform': lambda x, rois: mmcv.ops.deform_roi_pool(x, rois, None, (2, 3), 0.25),
    'deform shifted': shifted,
}
ALL = pytest.mark.parametrize('operator', OPERATORS.values(), ids=OPERATORS.keys())


@ALL
@pytest.mark.parametrize('images', [0, 2])
def test_no_regions(operator, images):
    x = torch.randn(images, 3, 9, 9, requires_grad=True)
    output = operator(x, torch.zeros(0, 5))
    assert output.shape == (0, 3, 2, 3)
    output.sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


@ALL
def test_degenerate_regions(operator):
    """No area and sides below zero: finite, and no other region is touched."""
    x = torch.randn(1, 3, 9, 9, requires_grad=True)
    rois = torch.tensor(
        [[4.0, 4, 20, 20], [8, 8, 8, 8], [20, 20, 4, 4], [900, 900, 999, 999]]
    )
    rois = torch.nn.functional.pad(rois, (1, 0))
    output = operator(x, rois)
    assert output.isfinite().all()
    assert torch.equal(output[3], torch.zeros_like(output[3]))
    torch.testing.assert_close(output[:1], operator(x, rois[:1]))
    output.sum().backward()
    assert x.grad.isfinite().all()


@ALL
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(operator, dtype):
    """Computed in float32 and rounded once."""
    x, rois = torch.randn(2, 3, 9, 9).to(dtype), regions(5, size=30).to(dtype)
    half = run(lambda t: operator(t, rois.to(t)), [x], dtype)
    full = run(lambda t: operator(t, rois.to(t)), [x], torch.float32)
    assert torch.equal(half[0], full[0].to(dtype))
    # The weights of the gradient are rounded too.
    torch.testing.assert_close(half[1], full[1].to(dtype), rtol=0.02, atol=0.02)


@ALL
def test_autocast(operator):
    conv, x, rois = torch.nn.Conv2d(3, 3, 1), torch.randn(2, 3, 9, 9), regions(5, 30)
    with torch.autocast('cpu', torch.bfloat16):
        features = conv(x)
        output = operator(features, rois)
    assert output.dtype == features.dtype == torch.bfloat16
    output.float().sum().backward()
    assert conv.weight.grad.isfinite().all()


@ALL
def test_tensors_that_are_not_contiguous(operator):
    x, rois = torch.randn(2, 3, 9, 9), regions(5, size=30)
    right = run(lambda t: operator(t, rois), [x], torch.float32)
    turned = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    table = torch.cat([rois, rois], 1)[:, :5]
    assert not turned.is_contiguous() and not table.is_contiguous()

    def through_a_view(t):
        # What comes back through it is not contiguous either.
        return operator(t, table).transpose(2, 3)

    assert torch.equal(operator(turned, table), right[0])
    output, grad = run(through_a_view, [turned], torch.float32)
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape).transpose(2, 3)
    x.requires_grad_()
    (operator(x, rois) * weights).sum().backward()
    torch.testing.assert_close(grad, x.grad)
