# Control of SMMix, the mixing of DeiT: DeiT-B on ImageNet-1k with Mixup and CutMix,
# from scratch.
#   bash tools/dist_train.sh configs/mixers/mixup-cutmix_deit-base-p16_4xb256-coslr-300e_in1k.py 4 --amp
# Expected: top-1 81.8 for plain DeiT-B with its own recipe (ICML 2021).
# Measured: not yet.
# Cost: not measured by us.
# Source: official SMMix code (ChenMnZ/SMMix) and its README; ICCV 2023. Mixup 0.8 and
# CutMix 1.0 in half of the batches each, as in DeiT.
# Ours: the matched control: only the mixing and its loss terms differ.
_base_ = './mixup-cutmix_deit-small-p16_4xb256-coslr-300e_in1k.py'

model = dict(backbone=dict(arch='deit-base'), head=dict(in_channels=768))
