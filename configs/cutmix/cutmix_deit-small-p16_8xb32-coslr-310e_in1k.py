# Made by tools/configs/generate.py: change its tables, not this file.
# Control, plain mixing, of: DeiT-S with TransMix on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/cutmix/cutmix_deit-small-p16_8xb32-coslr-310e_in1k.py 8
# Expected: no number is known.
# Measured: no.
# Cost: not measured by us.
# Source: the base config.
# Ours: that there is a control; what plain mixing reaches with TransMix's recipe was
# asked in its tracker, never answered.
_base_ = '../transmix/transmix_deit-small-p16_8xb32-coslr-310e_in1k.py'

model = dict(head=dict(type='VisionTransformerClsHead'))
