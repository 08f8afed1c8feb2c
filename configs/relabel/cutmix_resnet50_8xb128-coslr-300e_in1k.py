# Control of ReLabel with CutMix on ResNet-50: the labels of the images, all else the
# same.
#   bash tools/dist_train.sh configs/relabel/cutmix_resnet50_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: no number is confirmed.
# Measured: no.
# Cost: not measured by us.
# Source: as the base config.
# Ours: that there is a control.
_base_ = './relabel-cutmix_resnet50_8xb128-coslr-300e_in1k.py'

train_pipeline = _base_._plain_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
