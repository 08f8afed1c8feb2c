# Made by tools/configs/generate.py: change its tables, not this file.
# TL-Align with DHVT-T on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/tlalign/tlalign_dhvt-tiny-p16_2xb128-coslr-300e_in1k.py 2 --amp
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: the official recipe of DHVT, the base config.
# Ours: the use of this recipe for TL-Align, and its rule for head tokens
# (Tracer.append_tokens). CutMix mixes every batch and Mixup is off, as in its recipe
# for DeiT.
_base_ = '../dhvt/dhvt-tiny-p16_2xb128-coslr-300e_in1k.py'

model = dict(
    head=dict(type='mmtlalign.TLAlignVisionTransformerClsHead'),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=16)],
        probs=None,
    ),
)
