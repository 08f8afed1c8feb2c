# Made by tools/configs/generate.py: change its tables, not this file.
# Control, plain mixing, of: DeiT-S with TL-Align on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/cutmix/cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no number is known.
# Measured: no.
# Cost: not measured by us.
# Source: the base config.
# Ours: that there is a control; the paper compares with DeiT's own recipe, which also
# has Mixup.
_base_ = '../tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
