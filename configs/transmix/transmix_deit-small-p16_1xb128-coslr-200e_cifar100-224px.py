# Made by tools/configs/generate.py: change its tables, not this file.
# DeiT-S with TransMix on CIFAR-100 at 224 px (patch 16), from scratch.
#   python tools/train.py configs/transmix/transmix_deit-small-p16_1xb128-coslr-200e_cifar100-224px.py
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us; one GPU.
# Source: the base config.
# Ours: every value of the recipe.
_base_ = '../tlalign/tlalign_deit-small-p16_1xb128-coslr-200e_cifar100-224px.py'

model = dict(
    head=dict(type='mmtlalign.TransMixVisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
