# DeiT-S on ImageNet-1k with TL-Align, labels summed, not averaged, with those before a
# layer: ablation.
#   bash tools/dist_train.sh configs/ablations/tlalign-no-normalisation_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no number could be confirmed; the paper finds less gain, or a loss.
# Measured: no.
# Cost: not measured by us.
# Source: ICCV 2023, Table 8, of which only a summary was at hand; the base config. The
# control is cutmix_deit-small-p16_8xb128-coslr-300e_in1k.
# Ours: the reading: without the division labels sum to 4096 behind 12 layers, which
# multiplies the loss and its gradient by 4096 and turns neither; a difference to the
# base is numerical (the eps of AdamW, fp16).
_base_ = '../tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(head=dict(normalise=False))
