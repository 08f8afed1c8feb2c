"""Batches mixed in batch mode, with the numbers of before per-sample masks.

``python tests/lib/batch_mode.py`` wrote ``batch_mode.json`` with the code of before
``mode`` existed; :func:`draw` is what both sides run. Arrays are known by the digest of
their bytes, losses and the generators' next numbers by themselves.
"""

import hashlib
import json

import numpy as np
import torch
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from repository import ROOT

FILE = ROOT / 'tests' / 'lib' / 'batch_mode.json'
AUGMENTS = {
    'mixup': dict(type='Mixup', alpha=0.8),
    'cutmix': dict(type='CutMix'),
    'cutmix random': dict(type='CutMix', pairing='random'),
    'cutmix minmax': dict(type='CutMix', cutmix_minmax=(0.2, 0.8)),
    'cutmix prob': dict(type='CutMix', prob=0.5),
    'resizemix': dict(type='ResizeMix'),
    'fmix': dict(type='FMix'),
    'fmix soft': dict(type='FMix', max_soft=0.3),
    'gridmix': dict(type='GridMix', grid=5),
    'tokencutmix': dict(type='TokenCutMix', patch_size=8),
    'tokenmix': dict(type='TokenMix', patch_size=8),
    'tokenmix random': dict(type='TokenMix', patch_size=8, mask_type='random'),
    'mixtoken': dict(type='MixToken', patch_size=8),
    'switch': [
        dict(type='CutMix'),
        dict(type='Mixup', alpha=0.8),
        dict(type='TokenMix', patch_size=8),
    ],
}
PROBS = {'switch': [0.4, 0.3, 0.1]}
HEADS = ('TLAlign', 'TransMix', '')
ROUNDS = 4


def samples():
    classes = torch.arange(5)
    return [
        DataSample().set_gt_label(y).set_gt_score(torch.eye(7)[y].clone())
        for y in classes.tolist()
    ]


def images():
    drawn = np.random.RandomState(3).rand(5, 3, 32, 32).astype(np.float32)
    return torch.from_numpy(drawn)


def model(head, augments, probs):
    init_default_scope('mmpretrain')
    several = augments if isinstance(augments, list) else [augments]
    prefix = f'mmtlalign.{head}' if head else 'mmpretrain.'
    built = MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(
                type='VisionTransformer',
                arch=dict(
                    embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32
                ),
                img_size=32,
                patch_size=8,
            ),
            head=dict(
                type=f'{prefix}VisionTransformerClsHead',
                num_classes=7,
                in_channels=16,
                loss=dict(type='CrossEntropyLoss', use_soft=True),
            ),
            train_cfg=dict(
                augments=[dict(a, type=f'mmtlalign.{a["type"]}') for a in several],
                probs=probs,
            ),
        )
    )
    weights = np.random.RandomState(5)
    with torch.no_grad():
        for parameter in built.parameters():
            drawn = 0.4 * weights.randn(*parameter.shape)
            parameter.copy_(torch.from_numpy(drawn))
    return built.train()


def digest(arrays):
    return hashlib.sha256(np.stack(arrays).tobytes()).hexdigest()


def draw(name):
    """Return masks, partners, mixed images, targets, losses and the next numbers."""
    found = {}
    for head in HEADS:
        net = model(head, AUGMENTS[name], PROBS.get(name))
        np.random.seed(17)
        torch.manual_seed(17)
        found[f'loss {head}'] = [
            net(images(), samples(), mode='loss')['loss'].item() for _ in range(ROUNDS)
        ]
        found[f'next {head}'] = [np.random.rand(), torch.rand(()).item()]
    np.random.seed(17)
    torch.manual_seed(17)
    mixes = [net.mixer(images(), torch.eye(7)[:5]) for _ in range(ROUNDS)]
    found['mask'] = digest([mix.mask.numpy() for mix in mixes])
    found['partner'] = digest([mix.partner.numpy() for mix in mixes])
    found['images'] = digest([mix.images.numpy() for mix in mixes])
    found['target'] = digest([mix.target(mix.area()).numpy() for mix in mixes])
    return found


if __name__ == '__main__':
    FILE.write_text(json.dumps({name: draw(name) for name in AUGMENTS}, indent=1))
