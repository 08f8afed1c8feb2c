# DeiT-S on ImageNet-1k with TL-Align, labels before a layer left out: ablation.
#   bash tools/dist_train.sh configs/ablations/tlalign-no-residual_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number that we could confirm; the paper reports a smaller gain,
# or a loss.
# Measured: not yet.
# Cost: not measured by us.
# Source: ICCV 2023, Table 8, of which we had only a summary; all else is as in the base
# config. The control is cutmix_deit-small-p16_8xb128-coslr-300e_in1k.
# Ours: this possible reading of what the paper calls no normalisation; see
# tlalign-no-normalisation for the other reading.
_base_ = '../tlalign/tlalign_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(head=dict(residual=False))
