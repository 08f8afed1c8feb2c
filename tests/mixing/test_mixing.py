"""Boxes, records and augments: properties that hold for every draw."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtlalign.errors import InputError
from mmtlalign.mixing.augments import Mixup
from mmtlalign.mixing.cutmix import (
    CutMix,
    ResizeMix,
    box_area,
    clipped_box,
    minmax_box,
)
from mmtlalign.mixing.fmix import FMix
from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.mixtoken import MixToken
from mmtlalign.mixing.token_mix import GridMix, TokenCutMix, TokenMix

sides = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)
shares = st.floats(0, 1)
every_draw = settings(max_examples=150, deadline=None)


@every_draw
@given(sides, sides, shares, seeds)
def test_box_lies_inside_and_its_area_is_counted(height, width, lam, seed):
    np.random.seed(seed)
    box = top, bottom, left, right = clipped_box((height, width), lam)
    assert 0 <= top <= bottom <= height and 0 <= left <= right <= width
    drawn = np.zeros((height, width))
    drawn[top:bottom, left:right] = 1
    assert box_area(box, (height, width)) == pytest.approx(drawn.mean())
    # The box never covers more than was asked for.
    assert drawn.mean() <= 1 - lam + 1e-9


@every_draw
@given(st.integers(10, 60), st.integers(10, 60), seeds)
def test_minmax_box_keeps_its_sides(height, width, seed):
    np.random.seed(seed)
    top, bottom, left, right = minmax_box((height, width), 0.2, 0.8)
    assert top >= 0 and bottom <= height and left >= 0 and right <= width
    assert int(0.2 * height) <= bottom - top < max(int(0.8 * height), 1)
    assert int(0.2 * width) <= right - left < max(int(0.8 * width), 1)


@pytest.mark.parametrize('low, high', [(0.5, 0.5), (0.8, 0.2), (-0.1, 0.5), (0, 1.5)])
def test_minmax_box_that_cannot_be(low, high):
    with pytest.raises(ValueError, match='low < high'):
        minmax_box((32, 32), low, high)


@pytest.mark.parametrize('size', [(100, 3), (3, 100)])
def test_minmax_box_on_a_grid_with_a_short_side(size):
    with pytest.raises(InputError, match='leaves no box on a grid of .*differ by at'):
        minmax_box(size, 0.4, 0.6)


def batch(count, height, width):
    images = torch.arange(count * 3 * height * width).float()
    labels = torch.eye(5)[torch.arange(count) % 5] * 0.9 + 0.02
    return images.view(count, 3, height, width), labels


augments = st.sampled_from(
    [
        lambda p: CutMix(pairing=p),
        lambda p: CutMix(cutmix_minmax=(0.2, 0.8), pairing=p),
        lambda p: Mixup(0.8, pairing=p),
        lambda p: TokenCutMix(patch_size=4, pairing=p),
        lambda p: FMix(pairing=p),
        lambda p: FMix(max_soft=0.4, pairing=p),
        lambda p: GridMix(grid=5, pairing=p),
        lambda p: TokenMix(patch_size=4, pairing=p),
        lambda p: TokenMix(patch_size=4, mask_type='random', pairing=p),
    ]
)


@every_draw
@given(
    augments,
    st.sampled_from(['flip', 'random']),
    st.integers(1, 7),
    st.integers(3, 9),
    st.integers(3, 9),
    seeds,
)
def test_record_tells_what_was_done(make, pairing, count, rows, columns, seed):
    np.random.seed(seed)
    torch.manual_seed(seed % 2**31)
    images, labels = batch(count, 4 * rows, 4 * columns)
    before = images.clone()
    mix = make(pairing).mix(images, labels)
    assert torch.equal(images, before), 'inputs are left as they are'
    partner = before[mix.partner]
    expected = before + (partner - before) * mix.mask
    torch.testing.assert_close(mix.images, expected, rtol=1e-5, atol=1e-2)
    assert sorted(mix.partner.tolist()) == list(range(count))
    assert mix.mask.shape == (1, 1, 4 * rows, 4 * columns)
    assert mix.mask.min() >= 0 and mix.mask.max() <= 1

    share = mix.token_share((rows, columns))
    assert share.shape == (count, rows * columns, 1)
    assert share.dtype is torch.float32
    torch.testing.assert_close(share.mean(1)[:, 0], mix.area())
    target = mix.target(mix.area())
    torch.testing.assert_close(target.sum(1), torch.ones(count))
    low = torch.minimum(labels, labels[mix.partner])
    high = torch.maximum(labels, labels[mix.partner])
    assert (target >= low - 1e-6).all() and (target <= high + 1e-6).all()


def test_lambda_is_the_area_that_was_pasted():
    """Counted from the pixels themselves."""
    np.random.seed(0)
    for _ in range(50):
        images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 20, 28)
        mix = CutMix().mix(images, torch.eye(2))
        torch.testing.assert_close(mix.images[0].mean(), mix.area()[0])
        torch.testing.assert_close(mix.target(mix.area())[0, 1], mix.images[0].mean())


@pytest.mark.parametrize('lam, covered', [(1.0, 0.0), (0.0, 1.0)])
def test_empty_and_full_boxes(lam, covered):
    box = (0, 8, 0, 8) if covered else (3, 3, 2, 5)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., box[0] : box[1], box[2] : box[3]] = 1
    images, labels = batch(3, 8, 8)
    mix = Mix(images, labels, torch.tensor([2, 1, 0]), mask)
    assert mix.area().tolist() == [covered] * 3
    assert torch.equal(
        mix.target(mix.area()), labels[mix.partner] if covered else labels
    )
    assert (mix.token_share((2, 2)) == covered).all()
    assert (mix.token_mask((4, 4)) == covered).all()


@every_draw
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 9), seeds)
def test_tokens_that_stick_out_count_their_real_pixels(height, width, patch, seed):
    np.random.seed(seed)
    images, labels = batch(2, height, width)
    mix = CutMix().mix(images, labels)
    grid = -(-height // patch), -(-width // patch)
    share = mix.token_share(grid, (patch, patch))[0, :, 0].view(grid)
    first = mix.token_mask(grid, (patch, patch))[0].view(grid)
    for row in range(grid[0]):
        for column in range(grid[1]):
            y, x = row * patch, column * patch
            pixels = mix.mask[0, 0, y : y + patch, x : x + patch]
            assert share[row, column].item() == pytest.approx(pixels.mean().item())
            assert first[row, column] == pixels[0, 0]


def test_grid_that_does_not_fit():
    mix = Mix.unmixed(*batch(2, 10, 12))
    with pytest.raises(ValueError, match='3x4 tokens does not divide.*10x12.*patch='):
        mix.token_share((3, 4))
    with pytest.raises(
        ValueError, match='tile an image of 10x12 as 3x3 tokens, not 2x3'
    ):
        mix.token_share((2, 3), (4, 4))


def test_patch_that_does_not_divide_the_image():
    with pytest.raises(ValueError, match='patch_size=16 does not divide.*30x32'):
        TokenCutMix(patch_size=16).mix(*batch(2, 30, 32))


@pytest.mark.parametrize('augment', [TokenCutMix, MixToken])
def test_token_grid_without_room_for_a_box(augment):
    for height, width in ((32, 64), (16, 16)):
        with pytest.raises(ValueError, match='less than 3 a side.*smaller patch_size'):
            augment(patch_size=16).mix(*batch(2, height, width))
    np.random.seed(0)
    mixes = [augment(patch_size=16).mix(*batch(2, 48, 48)) for _ in range(30)]
    assert any(mix.area().max() > 0 for mix in mixes)


def test_prob_is_honest():
    """The official code mixes whatever prob is; ours mixes as often as it says."""
    np.random.seed(0)
    images, labels = batch(2, 16, 16)
    augment = Mixup(1.0, prob=0.3)
    mixed = sum(bool(augment.mix(images, labels).area().any()) for _ in range(1000))
    assert 240 < mixed < 360  # four deviations
    never = Mixup(1.0, prob=0.0)
    assert all(torch.equal(never(images, labels)[0], images) for _ in range(20))


def test_flip_pairs_the_reversed_batch_and_odd_batches_work():
    np.random.seed(1)
    images, labels = batch(5, 8, 8)
    mix = Mixup(1.0).mix(images, labels)
    assert mix.partner.tolist() == [4, 3, 2, 1, 0]
    assert torch.equal(mix.images[2], images[2])


def test_smoothing_before_or_after_is_the_same():
    np.random.seed(2)
    images, labels = batch(4, 8, 8)
    mix = CutMix().mix(images, labels)
    share = torch.rand(4)

    def smooth(y):
        return y * 0.9 + 0.1 / 5

    before = Mix(images, smooth(labels), mix.partner, mix.mask).target(share)
    torch.testing.assert_close(before, smooth(mix.target(share)))


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: CutMix(alpha=0), 'alpha=0.*positive'),
        (lambda: CutMix(prob=1.5), 'prob=1.5.*from 0 to 1'),
        (lambda: CutMix(pairing='pairs'), "pairing='pairs'.*'flip' or 'random'"),
        (lambda: TokenCutMix(patch_size=0), 'patch_size=0'),
        (lambda: CutMix(cutmix_minmax=(0.5, 0.2)), r'minmax=\(0.5, 0.2\).*low < high'),
        (
            lambda: CutMix().mix(torch.zeros(2, 3, 4, 4).byte(), torch.eye(2)),
            'Images are torch.uint8.*normalise',
        ),
        (lambda: Mixup(1.0).mix(torch.rand(2, 3, 4, 4), torch.tensor([1, 2])), 'B, K'),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unmixed_record():
    images, labels = batch(3, 8, 8)
    mix = Mix.unmixed(images, labels)
    assert mix.area().tolist() == [0, 0, 0]
    assert torch.equal(mix.target(torch.rand(3)), labels)


@pytest.mark.parametrize(
    'augment',
    [CutMix(), TokenCutMix(patch_size=4), Mixup(0.8), FMix(), CutMix(pairing='random')],
)
def test_mixing_in_place_gives_the_same(augment):
    images, labels = torch.randn(5, 3, 16, 16), torch.eye(5)
    for seed in range(5):
        mixes = []
        for inplace in (False, True):
            np.random.seed(seed)
            torch.manual_seed(seed)
            given_images = images.clone()
            mixes.append(augment.mix(given_images, labels, inplace=inplace))
            assert (mixes[-1].images is given_images) == inplace
            assert inplace or torch.equal(given_images, images)
        for name in ('images', 'labels', 'partner', 'mask'):
            assert torch.equal(getattr(mixes[0], name), getattr(mixes[1], name))


@pytest.mark.parametrize(
    'mask, labels, message',
    [
        (torch.ones(4, 4), torch.eye(2), r'A mask of shape \(4, 4\)'),
        (torch.ones(2, 4, 4), torch.eye(2), r'A mask of shape \(2, 4, 4\)'),
        (torch.ones(1, 1, 4, 4, dtype=torch.bool), torch.eye(2), 'torch.bool'),
        (torch.ones(1, 1, 4, 4), torch.eye(2).long(), 'torch.int64'),
        (torch.ones(1, 1, 4, 4), torch.ones(2), r'Labels of shape \(2,\)'),
    ],
)
def test_records_of_another_form_are_refused(mask, labels, message):
    images, partner = torch.zeros(2, 3, 4, 4), torch.tensor([1, 0])
    with pytest.raises(InputError, match=message):
        Mix(images, labels, partner, mask)


def test_class_numbers_are_no_labels():
    with pytest.raises(InputError, match='one_hot'):
        CutMix().mix(torch.zeros(2, 3, 4, 4), torch.tensor([[3], [5]]))


def test_a_record_moves_as_a_whole():
    images, labels = torch.rand(4, 3, 8, 8), torch.eye(4)
    outputs = GuideOutput(torch.rand(4, 2, 2), torch.rand(4, 4))
    mix = ResizeMix().mix(images, labels)
    mix = dataclasses.replace(mix, guide_output=outputs)
    moved = mix.to('meta')
    for part in (moved.images, moved.labels, moved.partner, moved.mask, moved.source):
        assert part.is_meta
    assert moved.guide_output.scores.is_meta and moved.guide_output.pictures is None
    same = mix.to('cpu')
    assert same.images is mix.images and same != mix
    assert repr(mix) == (
        'Mix(images=(4, 3, 8, 8), labels=(4, 4), partner=(4,), mask=(1, 1, 8, 8), '
        'source=(4, 4), cpu)'
    )
