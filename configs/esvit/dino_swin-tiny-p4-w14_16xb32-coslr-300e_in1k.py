# DINO with Swin-T, window 14, on ImageNet-1k without labels: only EsViT's view loss.
# The first 200 epochs are the first phase of
# esvit_swin-tiny-p4-w14_dino-pre_16xb32-coslr-300e_in1k, the whole run is its control.
#   bash tools/dist_train.sh configs/esvit/dino_swin-tiny-p4-w14_16xb32-coslr-300e_in1k.py 8 --amp \
#       --cfg-options train_dataloader.batch_size=64
#     (as many images as on 16 GPUs of 32; with another batch add --auto-scale-lr)
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: official code and README; see the _base_ files.
# Ours: k-NN evaluation every 10 epochs.
_base_ = ['../_base_/models/esvit_swin_tiny_w14.py', './_base_/in1k_300e_swin.py']

model = dict(region_head=None)
