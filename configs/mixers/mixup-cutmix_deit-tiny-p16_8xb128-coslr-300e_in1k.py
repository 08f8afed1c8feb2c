# Control, the mixing of DeiT: DeiT-T, patches of 16, on ImageNet-1k with Mixup and
# CutMix, from scratch.
#   bash tools/dist_train.sh configs/mixers/mixup-cutmix_deit-tiny-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: top-1 72.2 for plain DeiT-T with its own recipe (ICML 2021).
# Measured: not yet.
# Cost: not measured by us.
# Source: the schedule of the official MixPro configs; Mixup 0.8 and CutMix 1.0 in half
# of the batches each, as in DeiT.
# Ours: the matched control of MixPro: only the mixing and its labels differ.
_base_ = './mixup-cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(backbone=dict(arch='deit-tiny'), head=dict(in_channels=192))
