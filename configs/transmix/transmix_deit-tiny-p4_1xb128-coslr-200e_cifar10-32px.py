# Made by tools/configs/generate.py: change its tables, not this file.
# DeiT-T with TransMix on CIFAR-10 at 32 px (patch 4), from scratch.
#   python tools/train.py configs/transmix/transmix_deit-tiny-p4_1xb128-coslr-200e_cifar10-32px.py
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us; one GPU.
# Source: the base config.
# Ours: every value of the recipe.
_base_ = '../tlalign/tlalign_deit-tiny-p4_1xb128-coslr-200e_cifar10-32px.py'

model = dict(
    head=dict(type='mmtlalign.TransMixVisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
