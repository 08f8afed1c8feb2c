# TransMix: the images of the control, labels weighted by the attention of the class
# token.
#   python tools/train.py configs/small/transmix_vit-mini-p4_cifar10-32px.py --amp
#   ... --cfg-options data_root=DIR    the folder of the images
# Expected: no published number.
# Measured: not yet.
# Cost: see configs/plans/cifar10_vit-mini.py.
# Source: the base config.
# Ours: every value of the recipe.
_base_ = './cutmix_vit-mini-p4_cifar10-32px.py'

model = dict(head=dict(type='mmtlalign.TransMixVisionTransformerClsHead'))
