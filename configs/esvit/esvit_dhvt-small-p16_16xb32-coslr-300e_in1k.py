# EsViT with DHVT-S on ImageNet-1k without labels: view and region loss from the start.
#   bash tools/dist_train.sh configs/esvit/esvit_dhvt-small-p16_16xb32-coslr-300e_in1k.py 8 --amp \
#       --cfg-options train_dataloader.batch_size=64
#     (as many images as on 16 GPUs of 32; with another batch add --auto-scale-lr)
# Expected: no published number: this combination is ours. The control, with the view
# loss alone, is dino_dhvt-small-p16_16xb32-coslr-300e_in1k.
# Measured: not yet.
# Cost: not measured by us.
# Source: the settings of Swin in the official code and README; see the _base_ files.
# Ours: k-NN evaluation every 10 epochs, and the choice of this network; drop path as in
# its own recipe.
_base_ = ['../_base_/models/esvit_dhvt_small.py', './_base_/in1k_300e.py']
