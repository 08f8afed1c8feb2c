"""Puzzle Mix: masks of least cost, found by trying all, and its record."""

import itertools

import numpy as np
import pytest
import torch
from golden_mixers_puzzle import energy

from mmtlalign.errors import InputError
from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.mixing.puzzle import PuzzleMix, least_cost


@pytest.mark.parametrize('levels, size', [(2, (3, 3)), (2, (2, 5)), (3, (2, 3))])
def test_the_cut_is_the_best_of_all_masks(levels, size):
    draw = np.random.RandomState(0)
    for _ in range(25):
        costs = (
            draw.randint(0, 60, (*size, levels)),
            draw.randint(0, 25, (size[0] - 1, size[1])),
            draw.randint(0, 25, (size[0], size[1] - 1)),
        )
        found = energy(least_cost(*costs) / (levels - 1), *costs)
        every = itertools.product(range(levels), repeat=size[0] * size[1])
        masks = (np.reshape(mask, size) / (levels - 1) for mask in every)
        assert found == min(energy(mask, *costs) for mask in masks)


def pixel_costs(pictures, partner, blocks, border):
    """Contrasts at the borders of blocks in a column, spelt out for one image."""
    batch, _, high, wide = pictures.shape
    block = high // blocks, wide // blocks
    found = np.zeros((4, batch, blocks - 1, blocks))
    for i, (row, column) in itertools.product(
        range(batch), itertools.product(range(blocks - 1), range(blocks))
    ):
        for kind, (a, b) in enumerate(
            itertools.product((i, int(partner[i])), repeat=2)
        ):
            edge = (row + 1) * block[0]
            values = []
            for left in range(column * block[1], (column + 1) * block[1], border):
                span = slice(left, left + border)
                upper = pictures[a, :, edge - border : edge, span].mean((1, 2))
                lower = pictures[b, :, edge : edge + border, span].mean((1, 2))
                values.append(float((upper - lower).abs().mean()))
            found[kind, i, row, column] = np.mean(values)
    return found


def brute_costs(augment, saliency, pictures, partner, blocks, lam):
    """The cost of a mask of two levels, from the paper's terms, without regrouping."""
    block = saliency.shape[1] // blocks, saliency.shape[2] // blocks
    weight = augment.smoothness / blocks / 16
    borders = [
        pixel_costs(pictures, partner, blocks, augment.border),
        pixel_costs(pictures.mT, partner, blocks, augment.border).swapaxes(2, 3),
    ]

    def cost(i, mask):
        total = 0.0
        for row, column in itertools.product(range(blocks), repeat=2):
            span = (
                slice(row * block[0], (row + 1) * block[0]),
                slice(column * block[1], (column + 1) * block[1]),
            )
            lost = i if mask[row, column] else int(partner[i])
            total += float(saliency[lost][span].sum() / saliency[lost].sum())
            chance = 1 - lam if mask[row, column] else lam
            total -= augment.prior * np.log(chance + 1e-8) / blocks**2
        for axis, border in enumerate(borders):
            one, two = (
                (mask[:-1], mask[1:]) if axis == 0 else (mask[:, :-1], mask[:, 1:])
            )
            kind = (2 * one + two).astype(int)
            chosen = np.take_along_axis(border[:, i], kind[None], 0)[0]
            total += weight * (one != two).sum()
            total += weight * augment.contrast * chosen.sum()
        return total

    return cost


@pytest.mark.parametrize('size', [(16, 16), (16, 32)])
def test_costs_are_those_of_the_terms(size):
    torch.manual_seed(0)
    augment = PuzzleMix(blocks=(2,), contrast=0.8, border=2)
    saliency, pictures = torch.rand(3, *size), torch.rand(3, 3, *size)
    partner = torch.tensor([1, 2, 0])
    costs = augment.costs(saliency, pictures, partner, 2, 0.3)
    brute = brute_costs(augment, saliency, pictures, partner, 2, 0.3)
    for i in range(3):
        masks = [np.reshape(m, (2, 2)) for m in itertools.product((0, 1), repeat=4)]
        ours = [energy(m, *(part[i] for part in costs)) / (1000 * 4) for m in masks]
        theirs = [brute(i, m) for m in masks]
        # All masks cost the same constant more; whole numbers are cut off.
        ours, theirs = (np.subtract(one, one[0]) for one in (ours, theirs))
        assert np.ptp(theirs) > 0.1
        np.testing.assert_allclose(ours, theirs, atol=3e-3)


@pytest.mark.parametrize('levels', [2, 3])
@pytest.mark.parametrize('count', [1, 4, 5])
@pytest.mark.parametrize('size', [(32, 32), (32, 48)])
def test_records_say_what_was_done(size, count, levels):
    torch.manual_seed(1)
    images, labels = torch.randn(count, 3, *size), torch.eye(7)[:count]
    before, shares = images.clone(), set()
    guide_output = GuideOutput(
        torch.rand(count, *size), pictures=torch.rand(count, 3, *size)
    )
    augment = PuzzleMix(levels=levels)
    for seed in range(8):
        np.random.seed(seed)
        mix = augment.mix(images, labels, guide=lambda *_: guide_output)
        assert torch.equal(images, before) and mix.guide_output.pictures is None
        assert mix.mask.shape == (count, 1, *size)
        shares |= set(mix.mask.unique().tolist())
        expected = torch.lerp(images, images[mix.partner], mix.mask)
        torch.testing.assert_close(mix.images, expected)
        target = mix.target(mix.area())
        torch.testing.assert_close(target.sum(1), torch.ones(count))
    assert shares <= {0.0, 0.5, 1.0} and (levels == 3 or 0.5 not in shares)


def test_what_counts_is_shown():
    """Each image counts in another half: the mask shows both."""
    saliency = torch.full((2, 16, 16), 1e-3)
    saliency[0, :, :8] = 1
    saliency[1, :, 8:] = 1
    guide_output = GuideOutput(saliency, pictures=torch.rand(2, 3, 16, 16))
    augment = PuzzleMix(blocks=(4,), pairing='flip')
    np.random.seed(3)
    images = torch.randn(2, 3, 16, 16)
    mix = augment.mix(images, torch.eye(2), guide=lambda *_: guide_output)
    assert not mix.mask[0, :, :, :8].any() and mix.mask[0, :, :, 8:].all()
    assert mix.mask[1, :, :, :8].all() and not mix.mask[1, :, :, 8:].any()


def test_a_map_of_nothing_and_a_share_of_nothing_still_cut():
    guide_output = GuideOutput(
        torch.zeros(2, 16, 16), pictures=torch.rand(2, 3, 16, 16)
    )
    augment = PuzzleMix(blocks=(2, 4))
    for lam, share in ((0.0, 1.0), (1 - 1e-12, 0.0)):
        augment._draw_lam = lambda lam=lam: lam
        mix = augment.mix(
            torch.randn(2, 3, 16, 16), torch.eye(2), guide=lambda *_: guide_output
        )
        torch.testing.assert_close(mix.area(), torch.full((2,), share))


@pytest.mark.parametrize(
    'output, missing',
    [
        (GuideOutput(torch.ones(2, 4, 4)), 'no pictures: for PuzzleMix'),
        (torch.ones(2, 4, 4), 'no pictures and no saliency: for PuzzleMix'),
    ],
)
def test_a_guide_that_gives_too_little(output, missing):
    with pytest.raises(InputError, match=missing):
        PuzzleMix().mix(torch.rand(2, 3, 8, 8), torch.eye(2), guide=lambda *_: output)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(blocks=(1,)), r'blocks=\(1,\)'),
        (dict(blocks=()), r'blocks=\(\)'),
        (dict(levels=4), 'levels=4'),
        (dict(border=0), 'border=0'),
        (dict(prior=-1), 'prior=-1'),
        (dict(contrast=1.5), 'contrast=1.5.*minimum cut'),
        (dict(mode='batch'), "mode='batch'"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(InputError, match=message):
        PuzzleMix(**options)


def test_blocks_that_do_not_divide_are_named():
    with pytest.raises(
        InputError, match='16 blocks per side do not divide images of 24'
    ):
        PuzzleMix().check_guide((24, 24), (24, 24))
