# Made by tools/configs/generate.py: change its tables, not this file.
# Control with plain mixing of: DeiT-S with TL-Align on CIFAR-10 at 224 px (patch 16),
# from scratch.
#   python tools/train.py configs/cutmix/cutmix_deit-small-p16_1xb128-coslr-200e_cifar10-224px.py
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us; one GPU.
# Source: the base config.
# Ours: the matched control.
_base_ = '../tlalign/tlalign_deit-small-p16_1xb128-coslr-200e_cifar10-224px.py'

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
