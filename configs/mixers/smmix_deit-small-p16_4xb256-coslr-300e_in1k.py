# SMMix with DeiT-S on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/mixers/smmix_deit-small-p16_4xb256-coslr-300e_in1k.py 4 --amp
# Expected: top-1 81.1 (plain DeiT-S 79.8), from the README of the code.
# Measured: not yet.
# Cost: not measured by us.
# Source: official SMMix code (ChenMnZ/SMMix) and its README; ICCV 2023.
# Ours: the forward pass on the unmixed images has the precision of the training step,
# where the official code uses fp32; NumPy draws the side of the windows.
_base_ = './mixup-cutmix_deit-small-p16_4xb256-coslr-300e_in1k.py'

model = dict(
    backbone=dict(out_type='raw'),
    head=dict(type='mmtlalign.SMMixVisionTransformerClsHead'),
    train_cfg=dict(
        augments=[
            dict(type='mmtlalign.SMMix'),
            dict(type='mmtlalign.Mixup', alpha=0.8),
        ],
        probs=[0.5, 0.5],
        guide=dict(type='mmtlalign.OwnAttention'),
    ),
)
