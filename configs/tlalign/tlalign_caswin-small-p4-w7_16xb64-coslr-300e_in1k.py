# Made by tools/configs/generate.py: change its tables, not this file.
# TL-Align with CASwin-S, Swin with class attention, on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/tlalign/tlalign_caswin-small-p4-w7_16xb64-coslr-300e_in1k.py 8 --amp \
#       --cfg-options train_dataloader.batch_size=128
#     (mmpretrain's 16 GPUs of 64; a batch of 1024 as in Swin's paper)
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the use of this recipe for TL-Align, which reads the target at the class token.
# CutMix mixes every batch and Mixup is off, as in its recipe for DeiT. The box lies on
# the grid of the patch embedding.
_base_ = '../caswin/caswin-small-p4-w7_16xb64-coslr-300e_in1k.py'

model = dict(
    head=dict(type='mmtlalign.TLAlignLinearClsHead'),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)],
        probs=None,
    ),
)
