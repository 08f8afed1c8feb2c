# Control of ReLabel with CutMix on ResNet-50: trained on the labels of the images, all
# else the same.
#   bash tools/dist_train.sh configs/relabel/cutmix_resnet50_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no published number that we could confirm.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control.
_base_ = './relabel-cutmix_resnet50_8xb128-coslr-300e_in1k.py'

train_pipeline = _base_._plain_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
