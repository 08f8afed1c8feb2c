# DeiT-S on ImageNet-1k with TL-Align, labels moved by layers 1 to 6: ablation.
#   bash tools/dist_train.sh configs/ablations/tlalign-first-half_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number that we could confirm; the paper reports a smaller gain,
# or a loss.
# Measured: not yet.
# Cost: not measured by us.
# Source: ICCV 2023, Table 8, of which we had only a summary; all else is as in the base
# config. The control is cutmix_deit-small-p16_8xb128-coslr-300e_in1k.
# Ours: the choice of layers.
_base_ = '../tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(head=dict(layers=[0, 1, 2, 3, 4, 5]))
