# DeiT-T without mixing on CIFAR-100 at 32 px (patch 4), from scratch.
#   python tools/train.py configs/mixers/plain_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us; one GPU.
# Source: no published source.
# Ours: every value of the recipe. It is the control with a mixing probability of 0.
_base_ = '../cutmix/cutmix_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'

model = dict(train_cfg=dict(probs=[0.0]))
