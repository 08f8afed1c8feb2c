# DINO with Swin-S, window 14, on ImageNet-1k without labels: only EsViT's view loss.
# The first 180 epochs are the first phase of
# esvit_swin-small-p4-w14_dino-pre_32xb16-coslr-300e_in1k, the whole run is its control.
#   bash tools/dist_train.sh configs/esvit/dino_swin-small-p4-w14_32xb16-coslr-300e_in1k.py 32 --amp
#     (32 GPUs of 16 images; with another batch add --auto-scale-lr)
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: official code and README; see the _base_ files.
# Ours: k-NN evaluation every 10 epochs.
_base_ = './dino_swin-tiny-p4-w14_16xb32-coslr-300e_in1k.py'

model = dict(backbone=dict(arch='small', drop_path_rate=0.2))
train_dataloader = dict(batch_size=16)
