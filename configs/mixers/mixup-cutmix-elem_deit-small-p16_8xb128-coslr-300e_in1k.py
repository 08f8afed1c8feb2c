# DeiT-S on ImageNet-1k with Mixup or CutMix drawn for each image, from scratch.
#   bash tools/dist_train.sh configs/mixers/mixup-cutmix-elem_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no number is known.
# Measured: no.
# Cost: not measured by us.
# Source: timm's Mixup with mode='elem', whose draws are the same from the same seed.
# Ours: that it stands beside the recipe that draws for the batch, its control.
_base_ = './mixup-cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(train_cfg=dict(mode='elem'))
