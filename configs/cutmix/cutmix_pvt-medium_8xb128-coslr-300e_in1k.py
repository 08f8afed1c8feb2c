# Made by tools/configs/generate.py: change its tables, not this file.
# Control with plain mixing of: TL-Align with PVT-M on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/cutmix/cutmix_pvt-medium_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control.
_base_ = '../tlalign/tlalign_pvt-medium_8xb128-coslr-300e_in1k.py'

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
