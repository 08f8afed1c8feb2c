"""Golden numbers of patch drop and grid shuffle; every setting is in a key's name."""

import re

import numpy as np
import torch
from golden_files import close

from mmtlalign.evaluation.occlusion import (
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

SIZE = 224  # of the official code's images


def check_occlusion(path):
    golden = np.load(path, allow_pickle=False)
    check_official_mass(golden)
    check_random(golden)
    check_shuffle(golden)
    check_ranks(golden)
    check_pixels(golden)


def keys_of(golden, pattern):
    found = [(key, re.fullmatch(pattern, key)) for key in golden.files]
    found = [(key, *match.groups()) for key, match in found if match]
    assert found, pattern
    return found


def only(golden, pattern):
    """Return the array of the one key that matches."""
    ((key, *_),) = keys_of(golden, pattern)
    return golden[key]


def check_official_mass(golden):
    saliency = torch.from_numpy(only(golden, r'saliency_\d+x\d+'))
    pattern = r'official/mass(.+)/(\w+)_dropped/(kept_\w+)'
    for key, mass, part, name in keys_of(golden, pattern):
        dropped = mass_patches(saliency, float(mass), part == 'foreground')
        close(~dropped, golden[key], 0)
        close(pixel_loss(dropped), golden[key.replace(name, 'pixel_loss')], 1e-12)


def check_random(golden):
    """One draw for the batch, by the generator of the official code."""
    grid = golden[keys_of(golden, r'random/count\d+/kept_\w+')[0][0]].shape[1:]
    patches = grid[0] * grid[1]
    counts = [patch_count(k / 10, patches) for k in range(10)]
    assert counts == only(golden, r'random/drop_counts_official_\w+').tolist()
    for key, count in keys_of(golden, r'random/count(\d+)/kept_\w+'):
        dropped = draw(golden, key, int(count), grid)
        close((~dropped).expand(len(golden[key]), -1, -1), golden[key], 0)
        index = f'{key.rpartition("/")[0]}/dropped_index'
        if index in golden:
            where = dropped.flatten().nonzero().flatten()
            assert where.tolist() == sorted(golden[index].tolist())
    for key, count in keys_of(golden, r'random_offset/count(\d+)/kept_\w+'):
        white = torch.ones(len(golden[key]), 3, SIZE, SIZE)
        dropped = draw(golden, key, int(count), grid)
        cell = SIZE // golden[key].shape[1]
        left = drop_patches(white, dropped, offset=(8, 8))[:, 0, ::cell, ::cell]
        close(left, golden[key], 0)


def draw(golden, key, count, grid):
    seed = int(golden[f'{key.rpartition("/")[0]}/numpy_seed'])
    return random_patches(
        [np.random.RandomState(seed)], grid, count / (grid[0] * grid[1])
    )


def check_shuffle(golden):
    image = torch.from_numpy(only(golden, r'image_\d+cells_uint8'))
    cell = SIZE // image.shape[-1]
    whole = image.repeat_interleave(cell, 2).repeat_interleave(cell, 3)
    pattern = r'shuffle/(\d+)x(\d+)/image_\d+cells_uint8'
    for key, rows, columns in keys_of(golden, pattern):
        grid, folder = (int(rows), int(columns)), key.rpartition('/')[0]
        generator = np.random.RandomState(int(golden[f'{folder}/numpy_seed']))
        order = random_permutations([generator], grid)
        close(order[0], golden[f'{folder}/permutation'], 0)
        shuffled = shuffle_cells(whole, order, grid)
        close(shuffled[..., ::cell, ::cell], golden[key], 0)
        close(shuffle_cells(shuffled, order.argsort(dim=1), grid), whole, 0)


def check_ranks(golden):
    saliency = torch.from_numpy(only(golden, r'rank/saliency_\w+'))
    pattern = r'rank/(non_)?salient/ratio(.+)/dropped'
    for key, least, ratio in keys_of(golden, pattern):
        close(ranked_patches(saliency, float(ratio), not least), golden[key], 0)
    for key, mass in keys_of(golden, r'rank/mass(.+)/foreground'):
        close(mass_patches(saliency, float(mass)), golden[key], 0)


def check_pixels(golden):
    image = torch.from_numpy(golden['pixels/image_uint8']).double() / 255
    dropped = torch.from_numpy(only(golden, r'pixels/dropped_\w+')).bool()
    dropped = drop_patches(image, dropped)
    network = torch.nn.Conv2d(3, 1, 1).double()
    model = PixelModel(network, *golden['pixels/mean_std'])
    close(model.normalise(dropped), golden['pixels/normalised_after_drop'], 1e-5)
