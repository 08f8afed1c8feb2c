# DINO with Swin-B, window 14, on ImageNet-1k without labels: only EsViT's view loss.
# The first 200 epochs are the first phase of
# esvit_swin-base-p4-w14_dino-pre_64xb8-coslr-300e_in1k, the whole run is its control.
#   bash tools/dist_train.sh configs/esvit/dino_swin-base-p4-w14_64xb8-coslr-300e_in1k.py 64 --amp
#     (64 GPUs of 8 images; with another batch add --auto-scale-lr)
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: official code and README; see the _base_ files.
# Ours: k-NN evaluation every 10 epochs.
_base_ = './dino_swin-tiny-p4-w14_16xb32-coslr-300e_in1k.py'

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.2), head=dict(in_channels=1024)
)
train_dataloader = dict(batch_size=8)
