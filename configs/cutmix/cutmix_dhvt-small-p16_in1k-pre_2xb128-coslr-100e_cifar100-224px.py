# Made by tools/configs/generate.py: change its tables, not this file.
# Control with plain mixing of: TL-Align with DHVT-S fine-tuned from ImageNet-1k on
# CIFAR-100 at 224 px.
#   bash tools/dist_train.sh configs/cutmix/cutmix_dhvt-small-p16_in1k-pre_2xb128-coslr-100e_cifar100-224px.py 2 --amp
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control.
_base_ = (
    '../tlalign/tlalign_dhvt-small-p16_in1k-pre_2xb128-coslr-100e_cifar100-224px.py'
)

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
