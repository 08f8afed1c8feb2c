# DINO with Swin-S, window 7, on ImageNet-1k without labels: only EsViT's view loss.
#   bash tools/dist_train.sh configs/esvit/dino_swin-small-p4-w7_16xb32-coslr-300e_in1k.py 8 --amp \
#       --cfg-options train_dataloader.batch_size=64
#     (as many images as on 16 GPUs of 32; with another batch add --auto-scale-lr)
# Expected: linear 79.2, k-NN 76.9, from the official EsViT README.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config, of which this is the control.
# Ours: k-NN evaluation every 10 epochs.
_base_ = './esvit_swin-small-p4-w7_16xb32-coslr-300e_in1k.py'

model = dict(region_head=None)
