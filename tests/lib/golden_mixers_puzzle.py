"""Checks of Puzzle Mix against the official code: masks of least cost."""

import numpy as np
import torch
from golden_files import close
from golden_mixers import Batch

from mmtlalign.mixing.guides import GuideOutput
from mmtlalign.mixing.puzzle import PuzzleMix


def energy(mask, levels, down, right):
    """What a mask (b, b) of shares 0...1 costs, in whole numbers times (L - 1)²."""
    steps = levels.shape[-1] - 1
    chosen = np.round(mask * steps).astype(int)
    total = np.take_along_axis(levels, chosen[..., None], -1).sum() * steps**2
    total += (down * np.diff(chosen, axis=0) ** 2).sum()
    return total + (right * np.diff(chosen, axis=1) ** 2).sum()


def check_puzzle(path):
    golden = Batch(path)
    meta = golden.meta
    augment = PuzzleMix(
        blocks=(meta['block_num'],),
        levels=meta['n_labels'],
        smoothness=meta['beta'],
        contrast=meta['gamma'],
        prior=meta['eta'],
        border=meta['neigh_size'],
    )
    mean, std = (torch.tensor(meta[key]).view(3, 1, 1) for key in ('mean', 'std'))
    pictures = golden.images * std + mean
    gradient = torch.from_numpy(golden['gradient'])
    partner = torch.from_numpy(golden['partner'])
    augment._draw_partner = lambda batch, device: partner
    augment._draw_lam = lambda: meta['lam']
    guide_output = GuideOutput(gradient, pictures=pictures)
    mix = augment.mix(golden.images, golden.labels, guide=lambda *_: guide_output)
    side = meta['size'] // meta['block_num']
    found = mix.mask[:, 0, ::side, ::side].numpy()
    official = 1 - golden['mask_own_blocks']
    costs = augment.costs(gradient, pictures, partner, meta['block_num'], meta['lam'])
    for ours, theirs, *cost in zip(found, official, *costs):
        least = energy(ours, *cost)
        assert least <= energy(theirs, *cost)
        if meta['n_labels'] == 2:
            # The official cut of two levels is exact: another mask would cost as much.
            assert least == energy(theirs, *cost)
    if meta['n_labels'] == 2 and (found == official).all() and not meta['transport']:
        close(1 - mix.area(), golden['lam_own'], 1e-6)
        close(mix.images, golden['mixed'], 1e-6)
    elif meta['n_labels'] == 2:
        assert (found != official).mean() < 0.5
