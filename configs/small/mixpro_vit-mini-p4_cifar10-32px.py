# MixPro: MaskMix with cells of two tokens a side, and progressive attention labels.
#   python tools/train.py configs/small/mixpro_vit-mini-p4_cifar10-32px.py --amp
#   ... --cfg-options data_root=DIR    the folder of the images
# Expected: no published number.
# Measured: not yet.
# Cost: see configs/plans/cifar10_vit-mini.py.
# Source: the base config.
# Ours: every value of the recipe.
_base_ = './_base_/cifar10_32px.py'

model = dict(
    head=dict(type='mmtlalign.TransMixVisionTransformerClsHead', ratio='confidence'),
    train_cfg=dict(augments=[dict(type='mmtlalign.MaskMix', alpha=1.0, cell=8)]),
)
