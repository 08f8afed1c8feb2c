# Made by tools/configs/generate.py: change its tables, not this file.
# Control with plain mixing of: DeiT-S with TL-Align on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/cutmix/cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control; the paper compares with DeiT's own recipe, which also has
# Mixup.
_base_ = '../tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
