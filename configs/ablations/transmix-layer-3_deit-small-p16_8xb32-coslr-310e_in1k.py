# DeiT-S on ImageNet-1k with TransMix, labels by the attention of the third layer:
# ablation.
#   bash tools/dist_train.sh configs/ablations/transmix-layer-3_deit-small-p16_8xb32-coslr-310e_in1k.py 8
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config. The control is cutmix_deit-small-p16_8xb32-coslr-310e_in1k.
# Ours: the choice of the layer; TransMix reads the last of 12.
_base_ = '../transmix/transmix_deit-small-p16_8xb32-coslr-310e_in1k.py'

model = dict(head=dict(layer=2))
