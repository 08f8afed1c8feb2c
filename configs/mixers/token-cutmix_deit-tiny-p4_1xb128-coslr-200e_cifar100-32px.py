# DeiT-T with CutMix on the token grid, the target by area, on CIFAR-100 at 32 px (patch
# 4), from scratch.
#   python tools/train.py configs/mixers/token-cutmix_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us; one GPU.
# Source: no published source.
# Ours: every value of the recipe: the images of TL-Align without its labels.
_base_ = '../cutmix/cutmix_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'

model = dict(
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)]
    ),
)
