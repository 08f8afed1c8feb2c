# DeiT-S on ImageNet-1k with Mixup or CutMix drawn for each pair of images, from
# scratch.
#   bash tools/dist_train.sh configs/mixers/mixup-cutmix-pair_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: timm's Mixup with mode='pair'; the same seed gives the same draws.
# Ours: the comparison with the recipe that draws once per batch, which is its control.
_base_ = './mixup-cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(train_cfg=dict(mode='pair'))
