# DeiT-T with TransMix on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/transmix/transmix_deit-tiny-p16_8xb32-coslr-310e_in1k.py 8
# Expected: no number from the authors.
# Measured: not yet.
# Cost: not measured by us.
# Source: no published source: the authors released no tiny config; the values of DeiT-S
# (Beckschen/TransMix, CVPR 2022) are used instead. The switch between Mixup and CutMix:
# CutMix in 0.8 of the batches, as intended for DeiT-S.
# Ours: see schedules/transmix_310e.py.
_base_ = [
    '../_base_/models/deit_small.py',
    '../_base_/datasets/imagenet_224_transmix.py',
    '../_base_/runtime_cls.py',
    '../_base_/schedules/transmix_310e.py',
]

model = dict(
    backbone=dict(arch='deit-tiny'),
    head=dict(type='mmtlalign.TransMixVisionTransformerClsHead', in_channels=192),
    train_cfg=dict(
        augments=[
            dict(type='mmtlalign.Mixup', alpha=0.8),
            dict(type='mmtlalign.CutMix', alpha=1.0),
        ],
        probs=[0.2, 0.8],
    ),
)
randomness = dict(seed=42)
