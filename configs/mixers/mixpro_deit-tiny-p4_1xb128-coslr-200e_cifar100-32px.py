# MixPro (MaskMix and progressive attention labels) with DeiT-T on CIFAR-100 at 32 px
# (patch 4), from scratch.
#   python tools/train.py configs/mixers/mixpro_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us; one GPU.
# Source: no published source: the paper has no experiments on CIFAR.
# Ours: every value of the recipe; cells of two tokens a side.
_base_ = '../cutmix/cutmix_deit-tiny-p4_1xb128-coslr-200e_cifar100-32px.py'

model = dict(
    head=dict(type='mmtlalign.TransMixVisionTransformerClsHead', ratio='confidence'),
    train_cfg=dict(augments=[dict(type='mmtlalign.MaskMix', alpha=1.0, cell=8)]),
)
