"""Draws depend on seed, condition and image alone."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmtlalign.errors import InputError
from mmtlalign.evaluation.attacks import random_start
from mmtlalign.evaluation.corruptions import corrupt
from mmtlalign.evaluation.draws import (
    generator,
    generators,
    integer_seed,
    uniform_noise,
)
from mmtlalign.evaluation.occlusion import (
    drop_patches,
    random_patches,
    random_permutations,
    shuffle_cells,
)


def test_a_draw_is_that_of_the_three_numbers():
    expected = np.random.default_rng([3, 1, 41]).random(5)
    assert np.array_equal(generator(3, 1, 41).random(5), expected)
    for other in ((4, 1, 41), (3, 2, 41), (3, 1, 42)):
        assert not np.array_equal(generator(*other).random(5), expected)
        assert integer_seed(*other) != integer_seed(3, 1, 41)
    assert 0 <= integer_seed(3, 1, 41) < 2**32


def test_names_stand_for_numbers():
    ours, again = (generator(0, 'random drop 0.2', 1).random() for _ in range(2))
    assert ours == again != generator(0, 'random drop 0.4', 1).random()


def test_noise_does_not_depend_on_the_batch():
    images = torch.zeros(4, 3, 5, 6)
    whole = uniform_noise(generators(0, 7, range(4)), images, 0.25)
    parts = [uniform_noise(generators(0, 7, [i]), images[:1], 0.25) for i in range(4)]
    assert torch.equal(whole, torch.cat(parts))
    assert 0.2 < whole.abs().max() <= 0.25
    assert len(whole.unique()) > 300


def test_the_global_generators_are_left_alone():
    state, before = np.random.get_state()[1].copy(), torch.get_rng_state()
    uniform_noise(generators(0, 'x', [0, 1]), torch.zeros(2, 3), 1)
    assert np.array_equal(np.random.get_state()[1], state)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize('numbers', [(-1, 0, 0), (0, -1, 0), (0, 0, -1)])
def test_negative_numbers_are_refused(numbers):
    with pytest.raises(InputError, match='0 or more'):
        generator(*numbers)


def test_each_image_needs_a_generator():
    with pytest.raises(InputError, match='1 generators for 2 images'):
        uniform_noise(generators(0, 0, [0]), torch.zeros(2, 3), 1)


class Conditions(Dataset):
    """Images under every random condition, made one by one."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(index))
        dropped = random_patches([generator(0, 'drop', index)], (8, 8), 0.5)
        order = random_permutations([generator(0, 'shuffle', index)], (2, 4))
        start = random_start(image, 0.1, [generator(0, 'pgd', index)])
        pixels = (255 * image[0]).byte().permute(1, 2, 0).numpy()
        noisy = [pixels]
        if find_spec('imagecorruptions'):
            seed = integer_seed(0, 'corruption', index)
            names = ('gaussian_noise', 'impulse_noise', 'glass_blur')
            noisy = [corrupt(pixels, name, 3, seed) for name in names]
        shuffled = shuffle_cells(drop_patches(image, dropped), order, (2, 4))
        return index, shuffled[0], start[0], np.stack(noisy)


def test_order_batches_and_workers_do_not_matter():
    expected = [Conditions()[i] for i in range(7)]
    settings = [
        dict(batch_size=3, num_workers=2),
        dict(batch_size=2, sampler=[6, 0, 3, 2, 1, 5, 4]),
    ]
    for options in settings:
        count = 0
        for indices, *found in DataLoader(Conditions(), **options):
            for place, index in enumerate(indices.tolist()):
                count += 1
                for ours, first in zip(found, expected[index][1:]):
                    assert torch.equal(ours[place], torch.as_tensor(first))
        assert count == 7
