"""MaskMix: one share for the batch, other cells in every image."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtlalign.errors import InputError
from mmtlalign.mixing.token_mix import MaskMix


@settings(max_examples=100, deadline=None)
@given(
    st.integers(9, 40),
    st.integers(9, 40),
    st.integers(1, 8),
    st.integers(1, 7),
    st.sampled_from([('elem', 'random'), ('elem', 'flip'), ('pair', 'flip')]),
    st.integers(0, 2**32 - 1),
)
def test_cells_stay_or_go_as_a_whole(height, width, cell, count, how, seed):
    np.random.seed(seed)
    torch.manual_seed(seed % 2**31)
    mode, pairing = how
    images, labels = torch.randn(count, 3, height, width), torch.eye(7)[:count]
    augment = MaskMix(cell=cell, mode=mode, pairing=pairing)
    mix = augment.mix(images, labels)
    assert mix.mask.shape == (count, 1, height, width)
    cells = mix.mask[:, 0, ::cell, ::cell]
    whole = cells.repeat_interleave(cell, 1).repeat_interleave(cell, 2)
    assert torch.equal(mix.mask[:, 0], whole[:, :height, :width])
    # As many in each image; the own image has one at least.
    counts = cells.flatten(1).sum(1)
    assert len(set(counts.tolist())) == 1 and counts[0] < cells[0].numel()
    inside = mix.mask.expand_as(images) > 0
    assert torch.equal(mix.images[inside], images[mix.partner][inside])
    assert torch.equal(mix.images[~inside], images[~inside])
    target = mix.target(mix.area())
    torch.testing.assert_close(target.sum(1), torch.ones(count))
    if mode == 'pair':
        assert torch.equal(mix.mask, mix.mask.flip(0))


@pytest.mark.parametrize('lam', [1e-9, 0.3, 0.99])
def test_cells_are_rounded_in_favour_of_the_own_image(lam, monkeypatch):
    augment = MaskMix(cell=8)
    monkeypatch.setattr(augment, '_draw_lam', lambda: lam)
    images = torch.randn(3, 3, 32, 32)
    mix = augment.mix(images, torch.eye(3))
    own = math.ceil(lam * 16)
    torch.testing.assert_close(mix.area(), torch.full((3,), 1 - own / 16))


def test_images_have_other_cells():
    np.random.seed(2)
    mix = MaskMix(cell=4).mix(torch.randn(6, 3, 32, 32), torch.eye(6))
    assert len({tuple(mask.flatten().tolist()) for mask in mix.mask}) == 6


def test_a_probability_leaves_batches_as_they_are():
    images = torch.randn(3, 3, 32, 32)
    assert MaskMix(prob=0.0).mix(images, torch.eye(3)).images is images


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: MaskMix(cell=0), 'cell=0'),
        (lambda: MaskMix(cell=1.5), 'cell=1.5.*integer'),
        (lambda: MaskMix(mode='batch'), "mode='batch'.*MaskMix has elem and pair"),
        (lambda: MaskMix(mode='pair'), "mode='pair' with pairing='random'"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_single_cell_is_said():
    images = torch.randn(2, 3, 32, 32)
    with pytest.warns(UserWarning, match='cell=32: images of 32x32 .*smaller'):
        mix = MaskMix(cell=32).mix(images, torch.eye(2))
    assert torch.equal(mix.images, images)
