# DeiT-S on ImageNet-1k with TL-Align, labels moved by layers 7 to 12: ablation.
#   bash tools/dist_train.sh configs/ablations/tlalign-second-half_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number that we could confirm; the paper reports a smaller gain,
# or a loss.
# Measured: not yet.
# Cost: not measured by us.
# Source: ICCV 2023, Table 8, of which we had only a summary; all else is as in the base
# config. The control is cutmix_deit-small-p16_8xb128-coslr-300e_in1k.
# Ours: the choice of layers.
_base_ = '../tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(head=dict(layers=[6, 7, 8, 9, 10, 11]))
