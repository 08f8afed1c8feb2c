# DINO with Swin-B, window 7, on ImageNet-1k without labels: only EsViT's view loss. The
# first 200 epochs are the first phase of
# esvit_swin-base-p4-w7_dino-pre_16xb32-coslr-300e_in1k, the whole run is its control.
#   bash tools/dist_train.sh configs/esvit/dino_swin-base-p4-w7_16xb32-coslr-300e_in1k.py 8 --amp \
#       --cfg-options train_dataloader.batch_size=64
#     (as many images as on 16 GPUs of 32; with another batch add --auto-scale-lr)
# Expected: linear 79.6, k-NN 77.7, from the official EsViT README.
# Measured: not yet.
# Cost: not measured by us.
# Source: official code and README; see the _base_ files.
# Ours: k-NN evaluation every 10 epochs.
_base_ = './dino_swin-tiny-p4-w7_16xb32-coslr-300e_in1k.py'

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.2), head=dict(in_channels=1024)
)
