# Made by tools/configs/generate.py: change its tables, not this file.
# Control with plain mixing of: XCiT-S12/16 with TransMix on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/cutmix/cutmix_xcit-small-12-p16_8xb128-coslr-400e_in1k.py 8 --amp
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control.
_base_ = '../transmix/transmix_xcit-small-12-p16_8xb128-coslr-400e_in1k.py'

model = dict(head=dict(type='LinearClsHead'))
