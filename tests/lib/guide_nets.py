"""Small classifiers whose augments ask a guide."""

import copy

import torch
from mmengine.registry import MODELS, init_default_scope
from small_backbones import SWIN, VIT, randomise

K = 7
BACKBONES = {
    'vit': dict(
        type='VisionTransformer',
        arch=VIT,
        img_size=32,
        patch_size=8,
        drop_rate=0.3,
        drop_path_rate=0.3,
        out_type='raw',
    ),
    'swin': dict(
        type='SwinTransformer',
        arch=SWIN,
        img_size=56,
        window_size=7,
        out_indices=(1,),
        drop_path_rate=0.3,
        patch_size=4,
    ),
    'pvt': dict(
        type='mmtlalign.PVT',
        arch=dict(
            embed_dims=(8, 8, 8, 16),
            num_layers=(1, 1, 1, 2),
            num_heads=(1, 1, 2, 2),
            mlp_ratios=(1, 1, 1, 1),
            sr_ratios=(8, 4, 2, 1),
            patch_sizes=(4, 2, 2, 2),
        ),
        img_size=64,
        drop_path_rate=0.3,
        out_type='raw',
    ),
}
SIDES = dict(vit=32, swin=56, pvt=64)
ATTENTIVE = dict(type='mmtlalign.AttentiveCutMix')
SMMIX = dict(type='mmtlalign.SMMix')
OWN = dict(type='mmtlalign.OwnAttention')


WITHOUT_SCORES = ('mmtlalign.TeacherAttention', 'mmtlalign.FineGrainedSaliency')


def build(
    name='vit',
    augment=ATTENTIVE,
    guide=OWN,
    head='',
    backbone=None,
    consistency=None,
    **others,
):
    """A classifier whose batches are all mixed by one augment."""
    if consistency is None:
        consistency = float((guide or OWN)['type'] not in WITHOUT_SCORES)
    weights = dict(consistency_weight=consistency) if not head else {}
    init_default_scope('mmpretrain')
    kind = 'Linear' if name == 'swin' else 'VisionTransformer'
    width = 32 if name == 'swin' else 16
    torch.manual_seed(0)
    config = dict(
        type='mmtlalign.MixClassifier',
        backbone=backbone_config(name, backbone or {}),
        head=dict(
            type=f'mmtlalign.{head or "SMMix"}{kind}ClsHead',
            num_classes=K,
            in_channels=width,
            **weights,
            loss=dict(type='CrossEntropyLoss', use_soft=True),
        ),
        train_cfg=dict(augments=[augment], guide=guide, **others),
    )
    return randomise_a_little(MODELS.build(copy.deepcopy(config)).train())


def backbone_config(name, changes):
    """The config with changes; ``_delete_`` among them leaves nothing else."""
    changes = dict(changes)
    return changes if changes.pop('_delete_', False) else BACKBONES[name] | changes


def randomise_a_little(model):
    with torch.no_grad():
        for parameter in randomise(model).parameters():
            parameter.mul_(0.2)
    return model


def batch(name='vit'):
    size = SIDES[name]
    torch.manual_seed(3)
    return torch.randn(5, 3, size, size), torch.eye(K)[:5]
