"""Shares as extra value channels of fused attention."""

import pytest
import torch
import torch.nn.functional as F
from conftest import needs_value_channels

from mmtlalign.tracing.kernels import value_channels
from mmtlalign.tracing.kernels.value_channels import (
    attend_with_share,
    can_carry_share,
)

pytestmark = needs_value_channels
SHAPES = {
    'tokens': (2, 3, 5, 5, 8, 1),
    'columns': (2, 3, 5, 5, 8, 11),
    'few queries': (2, 3, 1, 7, 4, 1),
    'wide heads': (1, 2, 6, 6, 13, 2),
    'many tokens': (1, 2, 200, 200, 64, 1),
}


def draw(batch, heads, queries, keys, width, columns):
    torch.manual_seed(0)
    query = torch.randn(batch, queries, heads, width).transpose(1, 2)
    key, value = (torch.randn(batch, keys, heads, width).transpose(1, 2) for _ in '12')
    return [query, key, value], torch.rand(batch, keys, columns)


@pytest.mark.parametrize('shape', SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize('scale', [None, 0.4])
def test_columns_move_as_by_the_formula(shape, scale):
    parts, columns = draw(*shape)
    out, moved = attend_with_share(*parts, columns, scale)
    factor = shape[4] ** -0.5 if scale is None else scale
    weights = (factor * parts[0] @ parts[1].mT).double().softmax(-1)
    expected = weights.mean(1) @ columns.double()
    torch.testing.assert_close(moved.double(), expected, rtol=0, atol=1e-6)
    stock = F.scaled_dot_product_attention(*parts, scale=scale)
    torch.testing.assert_close(out, stock, rtol=1e-5, atol=1e-6)
    # As the stock kernel leaves it, so that nothing behind it copies.
    assert out.stride() == stock.stride()


@pytest.mark.parametrize('shape', SHAPES.values(), ids=SHAPES)
def test_gradients_are_those_of_the_network_alone(shape):
    parts, columns = draw(*shape)
    found = []
    for kind in ('stock', 'share'):
        leaves = [part.clone().requires_grad_() for part in parts]
        if kind == 'stock':
            out = F.scaled_dot_product_attention(*leaves)
        else:
            out, moved = attend_with_share(*leaves, columns.requires_grad_())
            assert not moved.requires_grad
        out.pow(2).sum().backward()
        found.append([leaf.grad for leaf in leaves])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert columns.grad is None


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('shape', SHAPES.values(), ids=SHAPES)
def test_half_precision_is_computed_in_float32(shape, dtype):
    parts, columns = draw(*shape)
    kept, found = [], []
    for kind in ('float32', 'share'):
        leaves = [part.to(dtype).requires_grad_() for part in parts]
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: kept.append((kind, t.dtype)) or t,  # noqa: B023
            lambda t: t,
        ):
            if kind == 'float32':
                wide = [leaf.float() for leaf in leaves]
                out, moved = attend_with_share(*wide, columns)
            else:
                out, moved = attend_with_share(*leaves, columns)
        out.sum().backward()
        grads = [leaf.grad for leaf in leaves]
        assert all(grad.dtype == dtype for grad in grads)
        found.append([moved, out.to(dtype), *grads])
    (moved, out, *grads), (ours, rounded, *others) = found[0], found[1]
    assert ours.dtype == torch.float32 and torch.equal(moved, ours)
    assert rounded.dtype == dtype and torch.equal(out, rounded)
    # The kept output is rounded, as in the network's own call.
    for other, grad in zip(others, grads):
        scale = grad.abs().max()
        assert scale > 0.1 and (other - grad).abs().max() < 1e-2 * scale
    stock = F.scaled_dot_product_attention(*[part.to(dtype) for part in parts])
    assert out.stride() == stock.stride()
    types = [kept_type for which, kept_type in kept if which == 'share']
    assert sorted(map(str, types)) == sorted([*[str(dtype)] * 4, 'torch.float32'])


def test_where_columns_can_ride(monkeypatch):
    parts, _ = draw(*SHAPES['tokens'])
    assert can_carry_share(*parts, None, 0.0)
    assert not can_carry_share(*parts, torch.zeros(5, 5), 0.0)
    assert not can_carry_share(*parts, None, 0.1)
    assert can_carry_share(*[part.bfloat16() for part in parts], None, 0.0)
    assert not can_carry_share(*parts[:2], parts[2].bfloat16(), None, 0.0)
    assert not can_carry_share(*[part.double() for part in parts], None, 0.0)
    assert not can_carry_share(*[part.to('meta') for part in parts], None, 0.0)
    assert not can_carry_share(parts[0], parts[1], parts[2][..., :4], None, 0.0)
    monkeypatch.setattr(value_channels, '_BACKWARD', None)  # an older PyTorch
    assert not can_carry_share(*parts, None, 0.0)
