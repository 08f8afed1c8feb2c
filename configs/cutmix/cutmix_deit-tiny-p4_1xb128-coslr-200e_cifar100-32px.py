# Made by tools/configs/generate.py: change its tables, not this file.
# Control with plain mixing of: DeiT-T with TL-Align on CIFAR-100 at 32 px (patch 4),
# from scratch.
#   python tools/train.py configs/cutmix/cutmix_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us; one GPU.
# Source: the base config.
# Ours: the matched control.
_base_ = '../tlalign/tlalign_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
