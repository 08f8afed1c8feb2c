# Control, the mixing of DeiT: DeiT-S, patches of 14, on ImageNet-1k with Mixup and
# CutMix, from scratch.
#   bash tools/dist_train.sh configs/mixers/mixup-cutmix_deit-small-p14_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the schedule of the official MixPro configs; Mixup 0.8 and CutMix 1.0 in half
# of the batches each, as in DeiT.
# Ours: the matched control of MixPro: only the mixing and its labels differ. DeiT
# itself has patches of 16.
_base_ = './mixup-cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(backbone=dict(patch_size=14))
