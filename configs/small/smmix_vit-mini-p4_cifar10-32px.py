# SMMix: the most salient window is pasted on the least salient one, with loss terms for
# both regions.
#   python tools/train.py configs/small/smmix_vit-mini-p4_cifar10-32px.py --amp
#   ... --cfg-options data_root=DIR    the folder of the images
# Expected: no published number.
# Measured: not yet.
# Cost: see configs/plans/cifar10_vit-mini.py.
# Source: the base config.
# Ours: every value of the recipe.
_base_ = './_base_/cifar10_32px.py'

model = dict(
    backbone=dict(out_type='raw'),
    head=dict(type='mmtlalign.SMMixVisionTransformerClsHead'),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.SMMix')],
        guide=dict(type='mmtlalign.OwnAttention'),
    ),
)
