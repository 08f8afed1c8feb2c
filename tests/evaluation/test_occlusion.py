"""Patches that are dropped, cells that are shuffled."""

import numpy as np
import pytest
import torch

from mmtlalign.errors import InputError
from mmtlalign.evaluation.draws import generators
from mmtlalign.evaluation.occlusion import (
    area_under_curve,
    drop_patches,
    mass_patches,
    patch_count,
    pixel_loss,
    random_patches,
    random_permutations,
    ranked_patches,
    shuffle_cells,
)
from mmtlalign.evaluation.pixel_model import PixelModel

SEEDS = range(5)
RATIOS = [k / 10 for k in range(11)]


def saliency(seed, ties=False, size=(3, 5, 7)):
    map_ = torch.rand(size, generator=torch.Generator().manual_seed(seed))
    return map_.mul(4).floor() if ties else map_


@pytest.mark.parametrize(
    'ratio, patches, count', [(0.29, 100, 29), (0.7, 90, 63), (0.1, 35, 3), (1, 4, 4)]
)
def test_counts_are_rounded_down_once(ratio, patches, count):
    assert patch_count(ratio, patches) == count


@pytest.mark.parametrize('grid', [(14, 14), (3, 5), (1, 1), (32, 32)])
def test_random_patches_are_as_many_and_nested(grid):
    before = torch.zeros(3, *grid, dtype=torch.bool)
    for ratio in RATIOS:
        dropped = random_patches(generators(0, 1, range(3)), grid, ratio)
        count = patch_count(ratio, grid[0] * grid[1])
        assert dropped.sum((1, 2)).tolist() == [count] * 3
        assert (dropped | ~before).all()
        before = dropped
    half = random_patches(generators(0, 1, range(3)), (8, 8), 0.5)
    assert not torch.equal(half[0], half[1])


def test_batches_do_not_matter():
    images = torch.rand(6, 3, 32, 32)
    whole = dropped_and_shuffled(images, range(6))
    parts = [dropped_and_shuffled(images[i : i + 2], (i, i + 1)) for i in (0, 2, 4)]
    assert torch.equal(whole, torch.cat(parts))
    back = dropped_and_shuffled(images.flip(0), range(5, -1, -1)).flip(0)
    assert torch.equal(whole, back)


def dropped_and_shuffled(images, indices):
    masks = random_patches(generators(0, 'drop', indices), (8, 8), 0.3)
    order = random_permutations(generators(0, 'shuffle', indices), (4, 2))
    return shuffle_cells(drop_patches(images, masks), order, (4, 2))


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('seed', SEEDS)
def test_mass_grows_and_holds_its_share(seed, ties):
    map_ = saliency(seed, ties).double()
    before = torch.zeros_like(map_, dtype=torch.bool)
    for mass in RATIOS:
        foreground = mass_patches(map_, mass)
        others = mass_patches(map_, mass, foreground=False)
        assert torch.equal(foreground, ~others)
        assert (foreground | ~before).all()
        held = (map_ * foreground).sum((1, 2)) / map_.sum((1, 2))
        assert (held >= mass - 1e-9).all()
        # Without its least patch it would hold less: no smaller set does.
        least = torch.where(foreground, map_, torch.inf).amin((1, 2))
        some = foreground.any(2).any(1)
        short = (map_ * foreground).sum((1, 2)) - least
        assert (short[some] / map_.sum((1, 2))[some] <= mass + 1e-9).all()
        before = foreground
    assert torch.equal(mass_patches(map_, 1.0), map_ > 0)
    many = saliency(seed, ties, (100, 14, 14))  # single precision, sums above 1
    assert not mass_patches(many, 0.0).any()


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('seed', SEEDS)
def test_ranks_are_stable(seed, ties):
    map_ = saliency(seed, ties)
    for ratio in RATIOS:
        for salient, sign in ((True, -1), (False, 1)):
            count = patch_count(ratio, 35)
            for own, dropped in zip(map_, ranked_patches(map_, ratio, salient)):
                order = np.argsort(sign * own.flatten().numpy(), kind='stable')
                where = dropped.flatten().nonzero().flatten().tolist()
                assert where == sorted(order[:count].tolist())


def test_what_is_dropped_is_black_and_the_rest_untouched():
    images = torch.rand(2, 3, 12, 20)
    dropped = random_patches(generators(0, 0, range(2)), (3, 5), 0.4)
    left = drop_patches(images, dropped)
    mask = dropped.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    assert torch.equal(left, images.masked_fill(mask, 0))
    assert pixel_loss(dropped).tolist() == [0.4, 0.4]
    nothing = torch.zeros(1, 3, 5, dtype=torch.bool)
    assert torch.equal(drop_patches(images, nothing), images)
    everything = drop_patches(images, ~nothing, [0.1, 0.2, 0.3])
    assert torch.equal(everything[1, :, 3, 7], torch.tensor([0.1, 0.2, 0.3]))


@pytest.mark.parametrize('bgr', [False, True])
def test_the_mean_colour_is_zero_to_the_network(bgr):
    network = torch.nn.Conv2d(3, 2, 4)
    model = PixelModel(network, [120, 110, 100], [50, 60, 70], bgr=bgr)
    dropped = torch.ones(1, 2, 2, dtype=torch.bool)
    left = drop_patches(torch.rand(2, 3, 8, 8), dropped, model.mean_colour)
    assert model.normalise(left).abs().max() < 1e-5


@pytest.mark.parametrize('grid', [(2, 2), (2, 4), (4, 1), (16, 24), (1, 1)])
def test_shuffles_are_undone_by_their_inverse(grid):
    images = torch.arange(2 * 3 * 16 * 24).reshape(2, 3, 16, 24).float()
    order = random_permutations(generators(1, 2, range(2)), grid)
    shuffled = shuffle_cells(images, order, grid)
    assert torch.equal(shuffled.flatten().sort().values, images.flatten())
    assert torch.equal(shuffle_cells(shuffled, order.argsort(dim=1), grid), images)
    rows, columns = 16 // grid[0], 24 // grid[1]
    for i, source in enumerate(order[1].tolist()):
        at, was = (divmod(n, grid[1]) for n in (i, source))
        cells = [
            tensor[1, :, r * rows : (r + 1) * rows, c * columns : (c + 1) * columns]
            for tensor, (r, c) in ((shuffled, at), (images, was))
        ]
        assert torch.equal(*cells)


def test_one_order_for_all_images():
    images, order = torch.rand(3, 3, 8, 8), torch.tensor([[3, 1, 0, 2]])
    each = shuffle_cells(images, order.expand(3, -1), (2, 2))
    assert torch.equal(shuffle_cells(images, order, (2, 2)), each)


@pytest.mark.parametrize(
    'call, words',
    [
        (lambda x: drop_patches(x, torch.ones(1, 3, 3) > 0), '3 x 3 does not divide'),
        (
            lambda x: drop_patches(x, torch.ones(3, 2, 2) > 0),
            r'\(3, 2, 2\) patches for 2',
        ),
        (
            lambda x: drop_patches(x, torch.ones(2, 2) > 0),
            r'give the mask of dropped patches, \(B, h, w\)',
        ),
        (lambda x: shuffle_cells(x, torch.arange(9)[None], (3, 3)), 'does not divide'),
        (lambda x: shuffle_cells(x, torch.arange(9)[None], (2, 2)), 'each of 4 cells'),
        (lambda x: shuffle_cells(x, torch.zeros(2, 4).long(), (2, 2)), 'once'),
        (lambda x: patch_count(1.5, 4), '0 to 1'),
        (lambda x: mass_patches(torch.ones(1, 2, 2), -0.1), '0 to 1'),
        (lambda x: mass_patches(-torch.ones(1, 2, 2), 0.5), 'has negative values'),
        (lambda x: mass_patches(torch.zeros(1, 2, 2), 0.5), '0 everywhere'),
        (lambda x: ranked_patches(torch.ones(2, 2), 0.5), r'one finite map \(h, w\)'),
        (lambda x: ranked_patches(torch.full((1, 2, 2), torch.nan), 0.5), 'finite'),
        (lambda x: area_under_curve([0, 0], [1, 1]), 'increasing loss'),
        (lambda x: area_under_curve([0, 1], [1]), '2 losses and 1 accuracies'),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call(torch.rand(2, 3, 8, 8))


def test_area_under_a_curve():
    assert area_under_curve([0, 0.3, 0.9], [80, 80, 80]) == pytest.approx(80)
    assert area_under_curve([0, 1], [100, 0]) == pytest.approx(50)
