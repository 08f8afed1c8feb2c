# Made by tools/configs/generate.py: change its tables, not this file.
# Control with plain mixing of: DeiT-S with TransMix, with the switch probability that
# the released code really uses: 0.5.
#   bash tools/dist_train.sh configs/cutmix/cutmix-official-switch_deit-small-p16_8xb32-coslr-310e_in1k.py 8
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control.
_base_ = '../transmix/transmix-official-switch_deit-small-p16_8xb32-coslr-310e_in1k.py'

model = dict(head=dict(type='VisionTransformerClsHead'))
