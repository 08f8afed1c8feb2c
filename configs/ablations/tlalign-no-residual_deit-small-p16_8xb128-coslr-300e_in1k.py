# DeiT-S on ImageNet-1k with TL-Align, labels before a layer not counted: ablation.
#   bash tools/dist_train.sh configs/ablations/tlalign-no-residual_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no number could be confirmed; the paper finds less gain, or a loss.
# Measured: no.
# Cost: not measured by us.
# Source: ICCV 2023, Table 8, of which only a summary was at hand; the base config. The
# control is cutmix_deit-small-p16_8xb128-coslr-300e_in1k.
# Ours: that this is what the paper may mean by no normalisation; see
# tlalign-no-normalisation for the other reading.
_base_ = '../tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(head=dict(residual=False))
