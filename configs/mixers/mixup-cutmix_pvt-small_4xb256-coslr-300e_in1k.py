# Control of SMMix: PVT-S on ImageNet-1k with Mixup and CutMix, from scratch.
#   bash tools/dist_train.sh configs/mixers/mixup-cutmix_pvt-small_4xb256-coslr-300e_in1k.py 4 --amp
# Expected: top-1 79.8 for plain PVT-S with its own recipe (ICCV 2021).
# Measured: not yet.
# Cost: not measured by us.
# Source: official SMMix code (ChenMnZ/SMMix) and its README; ICCV 2023. Mixup 0.8 and
# CutMix 1.0 in half of the batches each.
# Ours: the matched control: only the mixing and its loss terms differ.
_base_ = './mixup-cutmix_pvt-tiny_4xb256-coslr-300e_in1k.py'

model = dict(backbone=dict(arch='small'))
