# DeiT-S on ImageNet-1k with TransMix, three quarters of the labels by area: ablation.
#   bash tools/dist_train.sh configs/ablations/transmix-three-quarters-area_deit-small-p16_8xb32-coslr-310e_in1k.py 8
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config. The control is cutmix_deit-small-p16_8xb32-coslr-310e_in1k.
# Ours: the weight of the area: 0.5 is TransMix, 1 is the control.
_base_ = '../transmix/transmix_deit-small-p16_8xb32-coslr-310e_in1k.py'

model = dict(head=dict(ratio=0.75))
