# SMMix: the most salient window on the least salient one, and terms for both regions.
#   python tools/train.py configs/small/smmix_vit-mini-p4_cifar10-32px.py --amp
#   ... --cfg-options data_root=DIR    where the pictures lie
# Expected: in no paper.
# Measured: no.
# Cost: see configs/plans/cifar10_vit-mini.py.
# Source: the base config.
# Ours: every number.
_base_ = './_base_/cifar10_32px.py'

model = dict(
    backbone=dict(out_type='raw'),
    head=dict(type='mmtlalign.SMMixVisionTransformerClsHead'),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.SMMix')],
        guide=dict(type='mmtlalign.OwnAttention'),
    ),
)
