# DeiT-T without mixing on CIFAR-100 at 32 px (patch 4), from scratch.
#   python tools/train.py configs/mixers/plain_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py
# Expected: no number is known.
# Measured: no.
# Cost: not measured by us; one GPU.
# Source: none.
# Ours: every number; the control with a probability of 0.
_base_ = '../cutmix/cutmix_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'

model = dict(train_cfg=dict(probs=[0.0]))
