# EsViT with DeiT-S on ImageNet-1k without labels: view and region loss from the start.
#   bash tools/dist_train.sh configs/esvit/esvit_deit-small-p16_16xb32-coslr-300e_in1k.py 8 --amp \
#       --cfg-options train_dataloader.batch_size=64
#     (as many images as on 16 GPUs of 32; with another batch add --auto-scale-lr)
# Expected: no published number for this recipe is known to us; the paper uses this
# network in comparisons only. The control, with the view loss alone, is
# dino_deit-small-p16_16xb32-coslr-300e_in1k.
# Measured: not yet.
# Cost: not measured by us.
# Source: the settings of Swin in the official code and README; see the _base_ files.
# Ours: k-NN evaluation every 10 epochs.
_base_ = ['../_base_/models/esvit_deit_small.py', './_base_/in1k_300e.py']
