# SMMix with Swin-T on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/mixers/smmix_swin-tiny-p4-w7_16xb64-coslr-300e_in1k.py 8 --amp \
#       --cfg-options train_dataloader.batch_size=128
# Expected: no number from the authors.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config, which is the control.
# Ours: the use of SMMix without a class token: the saliency is the attention that each
# token of the last stage receives, and the windows lie on its 7x7 tokens.
_base_ = './mixup-cutmix_swin-tiny-p4-w7_16xb64-coslr-300e_in1k.py'

model = dict(
    neck=None,
    head=dict(type='mmtlalign.SMMixLinearClsHead'),
    train_cfg=dict(
        augments=[
            dict(type='mmtlalign.SMMix'),
            dict(type='mmtlalign.Mixup', alpha=0.8),
        ],
        probs=[0.5, 0.5],
        guide=dict(type='mmtlalign.OwnAttention'),
    ),
)
