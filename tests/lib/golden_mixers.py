"""Checks of the mixers beside CutMix against numbers of their official codes.

Shapes: ``B`` batch, ``H, W`` pixels.
"""

import json

import numpy as np
import torch
from golden_files import close
from mmengine.registry import MODELS, init_default_scope

from mmtlalign.methods.mixer import BatchMixer
from mmtlalign.mixing.augments import Mixup
from mmtlalign.mixing.cutmix import CutMix, box_mask


class Batch:
    """The images, labels and settings of one file."""

    def __init__(self, path):
        self.arrays = np.load(path, allow_pickle=False)
        self.meta = json.loads(str(self.arrays['meta_json']))
        self.classes = self.meta['K']
        self.images = torch.from_numpy(self.arrays['img'])
        target = torch.from_numpy(self.arrays['target'])
        self.labels = torch.nn.functional.one_hot(target, self.classes).float()

    def __getitem__(self, key):
        return self.arrays[key]

    def smooth(self, labels):
        smoothing = self.meta['smoothing']
        return labels * (1 - smoothing) + smoothing / self.classes

    def seed(self):
        np.random.seed(self.meta['seed'])
        torch.manual_seed(self.meta['seed'])

    def name(self, timm):
        return host_name(timm)

    def size(self):
        return tuple(self.images.shape[-2:])


class RoundedUp(CutMix):
    """CutMix with the boxes of timm since 1.0: the far side is rounded up."""

    def draw_mask(self, size, lam):
        cut = [int(side * np.sqrt(1 - lam)) for side in size]
        if self.cutmix_minmax is not None:
            low, high = self.cutmix_minmax
            cut = [
                np.random.randint(int(side * low), int(side * high)) for side in size
            ]
            first = [np.random.randint(0, n - c + 1) for n, c in zip(size, cut)]
            ends = [a + c for a, c in zip(first, cut)]
        else:
            centre = [np.random.randint(0, side) for side in size]
            first = [max(c - n // 2, 0) for c, n in zip(centre, cut)]
            ends = [
                min(c + (n + 1) // 2, side) for c, n, side in zip(centre, cut, size)
            ]
        return box_mask((first[0], ends[0], first[1], ends[1]), size)


def check_timm(path, cutmix=CutMix):
    """The whole recipe of timm: choices, shares, boxes, targets, the next number."""
    golden = Batch(path)
    meta, alphas = (
        golden.meta,
        (golden.meta['cutmix_alpha'], golden.meta['mixup_alpha']),
    )
    common = dict(prob=meta['prob'])
    augments = []
    if alphas[0] > 0 or meta['cutmix_minmax']:
        options = dict(cutmix_minmax=meta['cutmix_minmax'], **common)
        augments.append(cutmix(alphas[0] or 1.0, **options))
    if alphas[1] > 0:
        augments.append(Mixup(alphas[1], **common))
    golden.seed()
    if len(augments) == 2:
        switch = meta['switch_prob']
        mixer = BatchMixer(augments, [switch, 1 - switch], mode=meta['mode'])
        mix = mixer(golden.images.clone(), golden.labels)
    else:
        augments[0].mode = meta['mode']
        mix = augments[0].mix(golden.images, golden.labels)
    assert np.random.rand() == golden['next_rand']
    # A mask of Mixup is its share, rounded to float32 as theirs is.
    close(mix.mask.expand(len(mix.images), -1, -1, -1), golden['mask'], 1e-7)
    drawn = golden['lam_drawn']
    for i, box in enumerate(golden['box']):
        share = np.float32(1) - drawn[i]
        expected = box_mask(tuple(box), golden.size())
        if drawn[i] == 1 or not golden['use_cutmix'][i]:
            expected = np.full(golden.size(), share)
        close(mix.mask[i, 0], expected, 0)
    mixup = bool((golden['use_cutmix'] == 0).any())
    close(mix.images, golden['mixed'], 1e-6 if mixup else 0)
    target = golden.smooth(mix.target(mix.area()))
    close(target, golden['target_final'], 1e-6)


def check_timm1(path):
    """timm 1.0 rounds boxes otherwise; all else is drawn alike."""
    check_timm(path, RoundedUp)


def vit(golden, method, head=None, **options):
    """The classifier of a file that has the weights of a ViT."""
    meta = golden.meta
    dim = golden['sd/norm.weight'].shape[0]
    hidden = golden['sd/blocks.0.mlp.fc1.weight'].shape[0]
    init_default_scope('mmpretrain')
    model = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(
                type='VisionTransformer',
                arch=dict(
                    embed_dims=dim,
                    num_layers=meta['depth'],
                    num_heads=meta['heads'],
                    feedforward_channels=hidden,
                ),
                img_size=golden.size(),
                patch_size=meta['patch'],
                norm_cfg=dict(type='LN', eps=1e-6),
                **(head or {}),
            ),
            head=dict(
                type=f'mmtlalign.{method}VisionTransformerClsHead',
                num_classes=golden.classes,
                in_channels=dim,
                loss=dict(type='CrossEntropyLoss', use_soft=True),
                **options,
            ),
        )
    )
    state = {
        golden.name(k[3:]): torch.from_numpy(golden[k])
        for k in golden.arrays.files
        if k.startswith('sd/')
    }
    model.load_state_dict(state, strict=True)
    return model.train()


def host_name(timm):
    """The name of a parameter of timm's ViT in the classifier."""
    if timm.startswith('head'):
        return f'head.layers.{timm}'
    if timm.startswith('token_head'):
        return f'head.{timm}'
    for old, new in (
        ('patch_embed.proj', 'patch_embed.projection'),
        ('blocks.', 'layers.'),
        ('mlp.fc1', 'ffn.layers.0.0'),
        ('mlp.fc2', 'ffn.layers.1'),
        ('norm1', 'ln1'),
        ('norm2', 'ln2'),
    ):
        timm = timm.replace(old, new)
    if timm.startswith('norm.'):
        timm = timm.replace('norm.', 'ln1.')
    return f'backbone.{timm}'
