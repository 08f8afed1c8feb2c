"""Figures of label shares on tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtlalign.evaluation.label_shares import (
    errors_by_area,
    label_distance,
    moments,
    pearson_of,
    share_errors,
    similarity_cosine,
    similarity_projection,
    total_variation,
)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.floats(0, 0.5), st.integers(0, 2**31 - 1))
def test_vector_error_is_that_of_the_vectors(classes, smoothing, seed):
    draw = torch.Generator().manual_seed(seed)
    share, area = torch.rand(2, 6, generator=draw).double()
    labels = torch.randint(classes, (2, 6), generator=draw)
    own, partner = (
        torch.nn.functional.one_hot(labels, classes).double() * (1 - smoothing)
        + smoothing / classes
    )
    errors = share_errors(share, area, label_distance(own, partner))
    aligned, plain = (torch.lerp(own, partner, s[:, None]) for s in (share, area))
    expected = (aligned - plain).square().mean().sqrt()
    torch.testing.assert_close(errors.rmse_vector, expected)
    differ = (labels[0] != labels[1]).double()
    by_share = ((share - area).square() * differ).mean().sqrt()
    formula = (1 - smoothing) * (2 / classes) ** 0.5 * by_share
    torch.testing.assert_close(errors.rmse_vector, formula)
    assert errors.rmse_share >= errors.mean_abs - 1e-12 >= errors.bias.abs() - 2e-12


def test_errors_by_area():
    area = torch.tensor([0.0, 0.05, 0.55, 0.59, 1.0])
    share = area + torch.tensor([0.1, -0.1, 0.2, 0.4, 0.0])
    found = errors_by_area(share, area)
    assert found['count'].tolist() == [2, 0, 0, 0, 0, 2, 0, 0, 0, 1]
    rmse, bias = found['rmse_share'].tolist(), found['bias'].tolist()
    assert rmse[0] == pytest.approx(0.1) and bias[0] == pytest.approx(0, abs=1e-7)
    assert bias[5] == pytest.approx(0.3) and np.isnan(rmse[1])


def test_total_variation():
    history = [torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[0.2, 0.5, 0.0]])]
    history.append(torch.tensor([[0.0, 0.6, 0.1]]))
    variation = total_variation(history)
    torch.testing.assert_close(variation, torch.tensor([[0.4, 0.1, 1.1]]))


def test_similarities():
    own, partner = torch.randn(2, 5, 7, 16)
    share = torch.rand(5, 7)
    mixed = torch.lerp(own, partner, share[..., None])
    torch.testing.assert_close(similarity_projection(own, partner, mixed), share)
    for measure in (similarity_projection, similarity_cosine):
        ends = measure(own, partner, own), measure(own, partner, partner)
        assert (ends[0] < 0.5).all() and (ends[1] > 0.5).all()
        swapped = measure(partner, own, mixed)
        torch.testing.assert_close(measure(own, partner, mixed), 1 - swapped)
        # Without a difference to tell, half.
        same = measure(own, own, mixed)
        torch.testing.assert_close(same, torch.full((5, 7), 0.5))
    zero = torch.zeros(1, 16)
    assert similarity_cosine(zero, zero, zero).item() == 0.5
    # A large mean direction draws cosines to a half, and can be taken off.
    mean = torch.full((16,), 30.0)
    far = similarity_cosine(own + mean, partner + mean, partner + mean)
    near = similarity_cosine(own + mean, partner + mean, partner + mean, mean)
    assert far.max() < 0.51 < near.min()


def test_moments_add_up():
    x, y = torch.randn(2, 40)
    y = y + x
    whole = moments(x, y)
    torch.testing.assert_close(moments(x[:9], y[:9]) + moments(x[9:], y[9:]), whole)
    assert pearson_of(whole) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-6)
    assert np.isnan(pearson_of(moments(torch.full((40,), 0.3), y)))
