# Made by tools/configs/generate.py: change its tables, not this file.
# Control with plain mixing of: Swin-B with TL-Align on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/cutmix/cutmix_swin-base-p4-w7_16xb64-coslr-300e_in1k.py 8 --amp \
#       --cfg-options train_dataloader.batch_size=128
#     (mmpretrain's 16 GPUs of 64; a batch of 1024 as in Swin's paper)
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control.
_base_ = '../tlalign/tlalign_swin-base-p4-w7_16xb64-coslr-300e_in1k.py'

model = dict(
    head=dict(type='LinearClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
