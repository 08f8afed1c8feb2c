# Made by tools/configs/generate.py: change its tables, not this file.
# TL-Align with DHVT-S fine-tuned from ImageNet-1k on CIFAR-100 at 224 px.
#   bash tools/dist_train.sh configs/tlalign/tlalign_dhvt-small-p16_in1k-pre_2xb128-coslr-100e_cifar100-224px.py 2 --amp
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: the official recipe of DHVT, the base config.
# Ours: the use of this recipe for TL-Align, and its rule for head tokens
# (Tracer.append_tokens). CutMix mixes every batch and Mixup is off, as in its recipe
# for DeiT.
_base_ = '../dhvt/dhvt-small-p16_in1k-pre_2xb128-coslr-100e_cifar100-224px.py'

model = dict(
    head=dict(type='mmtlalign.TLAlignVisionTransformerClsHead'),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=16)],
        probs=None,
    ),
)
