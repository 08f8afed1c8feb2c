# DINO with ResNet-50, on ImageNet-1k without labels: only EsViT's view loss. The first
# 200 epochs are the first phase of esvit_resnet50_dino-pre_16xb64-coslr-300e_in1k, the
# whole run is its control.
#   bash tools/dist_train.sh configs/esvit/dino_resnet50_16xb64-coslr-300e_in1k.py 8 --amp \
#       --cfg-options train_dataloader.batch_size=128
#     (as many images as on 16 GPUs of 64; with another batch add --auto-scale-lr)
# Expected: linear 75.0, k-NN 69.1, from the official EsViT README.
# Measured: not yet.
# Cost: not measured by us.
# Source: official code and README; see the _base_ files.
# Ours: k-NN evaluation every 10 epochs. We do not know which optimizer the authors used
# for this run; their code has AdamW by default.
_base_ = ['../_base_/models/esvit_resnet50.py', './_base_/in1k_300e.py']

model = dict(region_head=None)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=1024)
