# Made by tools/configs/generate.py: change its tables, not this file.
# Control with plain mixing of: TL-Align with DHVT-T with patches of 2 on CIFAR-100 at
# 32 px, from scratch.
#   bash tools/dist_train.sh configs/cutmix/cutmix_dhvt-tiny-p2_2xb256-coslr-300e_cifar100-32px.py 2 --amp
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control.
_base_ = '../tlalign/tlalign_dhvt-tiny-p2_2xb256-coslr-300e_cifar100-32px.py'

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
