# DINO with DeiT-S on ImageNet-1k without labels: only EsViT's view loss.
#   bash tools/dist_train.sh configs/esvit/dino_deit-small-p16_16xb32-coslr-300e_in1k.py 8 --amp \
#       --cfg-options train_dataloader.batch_size=64
#     (as many images as on 16 GPUs of 32; with another batch add --auto-scale-lr)
# Expected: no published number for this recipe is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config, of which this is the control.
# Ours: the same as in the base config.
_base_ = './esvit_deit-small-p16_16xb32-coslr-300e_in1k.py'

model = dict(region_head=None)
