# DINO with DHVT-S on ImageNet-1k without labels: EsViT's view loss alone.
#   bash tools/dist_train.sh configs/esvit/dino_dhvt-small-p16_16xb32-coslr-300e_in1k.py 16 --amp
#     (16 GPUs of 32 images; with another batch add --auto-scale-lr)
# Expected: no number with this recipe is known to us.
# Measured: no.
# Cost: not measured by us.
# Source: as the base config, whose control this is.
# Ours: as the base config.
_base_ = './esvit_dhvt-small-p16_16xb32-coslr-300e_in1k.py'

model = dict(region_head=None)
