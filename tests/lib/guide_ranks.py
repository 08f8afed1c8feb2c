"""Two processes train by a guided augment and Mixup in turn, for test_guides.py.

``python guide_ranks.py FILE smmix|puzzle``: FILE is where they meet.
"""

import sys

import numpy as np
import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS, init_default_scope
from small_backbones import VIT
from torch.multiprocessing import spawn

from mmtlalign.methods import MixClassifier  # noqa: F401  registers

K = 7
AUGMENTS = {
    'smmix': (dict(type='mmtlalign.SMMix'), 'OwnAttention'),
    'puzzle': (dict(type='mmtlalign.PuzzleMix', blocks=(2, 4)), 'InputGradient'),
}


def model(kind):
    augment, guide = AUGMENTS[kind]
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='mmtlalign.MixClassifier',
            backbone=dict(
                type='VisionTransformer',
                arch=VIT,
                img_size=32,
                patch_size=8,
                out_type='raw',
            ),
            head=dict(
                type='mmtlalign.SMMixVisionTransformerClsHead',
                num_classes=K,
                in_channels=16,
                loss=dict(type='CrossEntropyLoss', use_soft=True),
            ),
            train_cfg=dict(
                augments=[
                    augment,
                    dict(type='mmtlalign.Mixup', alpha=0.8),
                ],
                probs=[0.5, 0.5],
                guide=dict(type=f'mmtlalign.{guide}'),
            ),
        )
    )


def train(rank, file, kind):
    from mmpretrain.structures import DataSample

    dist.init_process_group('gloo', f'file://{file}', rank=rank, world_size=2)
    net = MMDistributedDataParallel(model(kind), find_unused_parameters=False)
    np.random.seed(5)  # the same choices in both, as a mixer of each may differ
    kinds = set()
    for step in range(6):
        torch.manual_seed(10 * step + rank)
        images = torch.randn(4, 3, 32, 32)
        samples = [DataSample().set_gt_score(torch.eye(K)[i]) for i in range(4)]
        # Every second step is accumulated, without averaging.
        with net.no_sync() if step % 2 else torch.enable_grad():
            losses = net(images, samples, mode='loss')
            sum(losses.values()).backward()
        kinds.add(bool(losses['loss_consistency'] > 0))
        if step % 2:
            net.zero_grad()
            continue
        for parameter in net.parameters():
            if parameter.requires_grad:
                mine = parameter.grad.clone()
                dist.all_reduce(mine)
                torch.testing.assert_close(mine / 2, parameter.grad)
    assert kinds == {True, False}
    dist.barrier()


if __name__ == '__main__':
    torch.set_num_threads(1)
    spawn(train, tuple(sys.argv[1:]), nprocs=2)
    print('both are done')
