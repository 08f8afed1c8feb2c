# DeiT-S on ImageNet-1k with TL-Align, labels after a layer summed with those before it,
# not averaged: ablation.
#   bash tools/dist_train.sh configs/ablations/tlalign-no-normalisation_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number that we could confirm; the paper reports a smaller gain,
# or a loss.
# Measured: not yet.
# Cost: not measured by us.
# Source: ICCV 2023, Table 8, of which we had only a summary; all else is as in the base
# config. The control is cutmix_deit-small-p16_8xb128-coslr-300e_in1k.
# Ours: this reading of the paper. Without the division, labels sum to 4096 after 12
# layers. This multiplies the loss and its gradient by 4096 but changes the direction of
# neither; a difference from the base config is numerical (the eps of AdamW, fp16).
_base_ = '../tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(head=dict(normalise=False))
