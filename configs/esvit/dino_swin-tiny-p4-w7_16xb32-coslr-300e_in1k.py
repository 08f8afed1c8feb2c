# DINO with Swin-T, window 7, on ImageNet-1k without labels: EsViT's view loss alone.
#   bash tools/dist_train.sh configs/esvit/dino_swin-tiny-p4-w7_16xb32-coslr-300e_in1k.py 16 --amp
#     (16 GPUs of 32 images; with another batch add --auto-scale-lr)
# Expected: linear 77.0, k-NN 74.2, the official EsViT README's.
# Measured: no.
# Cost: not measured by us.
# Source: as the base config, whose control this is.
# Ours: k-NN every 10 epochs.
_base_ = './esvit_swin-tiny-p4-w7_16xb32-coslr-300e_in1k.py'

model = dict(region_head=None)
