# Control of ReLabel on ResNet-50: trained on the labels of the images, all else the
# same.
#   bash tools/dist_train.sh configs/relabel/resnet50_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: top-1 77.5, from the authors' README.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: none beyond those of the base config.
_base_ = './relabel_resnet50_8xb128-coslr-300e_in1k.py'

train_pipeline = _base_._plain_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
