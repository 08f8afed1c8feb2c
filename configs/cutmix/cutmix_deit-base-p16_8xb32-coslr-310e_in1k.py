# Made by tools/configs/generate.py: change its tables, not this file.
# Control with plain mixing of: DeiT-B with TransMix on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/cutmix/cutmix_deit-base-p16_8xb32-coslr-310e_in1k.py 8
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control; a question in TransMix's tracker about the result of plain
# mixing with this recipe was never answered.
_base_ = '../transmix/transmix_deit-base-p16_8xb32-coslr-310e_in1k.py'

model = dict(head=dict(type='VisionTransformerClsHead'))
