# EsViT with DeiT-S on ImageNet-1k without labels: view and region loss from the start.
#   bash tools/dist_train.sh configs/esvit/esvit_deit-small-p16_16xb32-coslr-300e_in1k.py 16 --amp
#     (16 GPUs of 32 images; with another batch add --auto-scale-lr)
# Expected: no number with this recipe is known to us; the paper has this network in
# comparisons alone. Its control, views alone:
# dino_deit-small-p16_16xb32-coslr-300e_in1k.
# Measured: no.
# Cost: not measured by us.
# Source: those of Swin in the official code and README; see the _base_ files.
# Ours: k-NN every 10 epochs.
_base_ = ['../_base_/models/esvit_deit_small.py', './_base_/in1k_300e.py']
