# SMMix with DeiT-B on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/mixers/smmix_deit-base-p16_4xb256-coslr-300e_in1k.py 4 --amp
# Expected: more than 1 above plain DeiT-B (81.8), the abstract, which has no figure.
# Measured: no.
# Cost: not measured by us.
# Source: official SMMix code (ChenMnZ/SMMix) and its README; ICCV 2023.
# Ours: the look at the images before mixing has the precision of the step, where the
# official one has fp32; the side of the windows is drawn by NumPy.
_base_ = './mixup-cutmix_deit-base-p16_4xb256-coslr-300e_in1k.py'

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
