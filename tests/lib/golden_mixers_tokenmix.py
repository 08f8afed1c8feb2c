"""Checks of TokenMix and of its targets against the official code."""

import dataclasses

import numpy as np
import torch
from golden_files import close
from golden_mixers import Batch
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample

from mmtlalign.mixing.mix import Mix
from mmtlalign.mixing.token_mix import TokenMix


def head(classes, **options):
    """A head with the targets of TokenMix and binary cross-entropy."""
    import mmtlalign.methods  # noqa: F401  registers

    init_default_scope('mmpretrain')
    return MODELS.build(
        dict(
            type='mmtlalign.TokenMixLinearClsHead',
            num_classes=classes,
            in_channels=4,
            loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
            **options,
        )
    )


def check_tokenmix(path):
    golden = Batch(path)
    meta = golden.meta
    grid, side = (meta['grid'],) * 2, meta['size'] // meta['grid']
    images = golden.images.float()
    mask = torch.from_numpy(golden['mask_token'])
    share = float(mask.mean())
    partner = torch.arange(len(images)).flip(0)
    pixels = mask.repeat_interleave(side, 0).repeat_interleave(side, 1)
    mix = Mix(images, golden.labels, partner, pixels[None, None])
    if meta['mask_type'] == 'random':
        golden.seed()
        np.random.rand()  # whether to mix; ours draws that, too: this one is the switch
        augment = TokenMix(patch_size=side, mask_type='random', share=share)
        mix = augment.mix(images, golden.labels)
        close(mix.token_mask(grid)[0].view(grid), golden['mask_token'], 0)
        close(mix.images, golden['mixed'], 0)
    else:
        close(torch.where(pixels > 0, images[partner], images), golden['mixed'], 0)
    close(1 - mix.area(), np.full(len(images), golden['lam_own_area']), 1e-6)

    samples = []
    for values, target in zip(golden['activation'], golden['target']):
        sample = DataSample()
        sample.set_field(torch.from_numpy(values)[None], 'gt_label_map')
        index = torch.full((1, *grid), int(target))
        sample.set_field(index, 'gt_label_map_index')
        samples.append(sample)
    ours = head(golden.classes)
    with ours.trace(None, mix, samples) as activation:
        pass
    close(activation, golden['activation'], 0)
    ((own, other),) = ours.label_weights(mix, activation, ())
    close(own, golden['weight_own'], 1e-6)
    close(other, golden['weight_partner'], 1e-6)
    place = activation / activation.sum((1, 2), keepdim=True)
    close(place, golden['own_map'], 1e-6)

    # The official target takes the smoothing from both weights and adds it everywhere.
    eps, smooth = meta['smoothing'], golden.smooth
    weights = torch.stack([own, other]) - eps / 2
    lowered = dataclasses.replace(mix, labels=golden.labels)
    official = lowered.target(weights[1], weights[0]) + eps / golden.classes
    close(official, golden['target_final'], 1e-6)
    # Ours scales the smoothed labels: its rows sum to the weights, too.
    scaled = dataclasses.replace(mix, labels=smooth(golden.labels)).target(other, own)
    close(scaled.sum(1), (own + other).numpy(), 1e-6)
    assert scaled.min() >= 0
