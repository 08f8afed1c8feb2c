# Made by tools/configs/generate.py: change its tables, not this file.
# Control without label maps (only the class token is trained) of: DHVT-S with token
# labels and MixToken on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/token_labeling/mixtoken_dhvt-small-p16_2xb128-coslr-300e_in1k.py 2 --amp
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control.
_base_ = './token-label_dhvt-small-p16_2xb128-coslr-300e_in1k.py'

model = dict(head=dict(class_target='label', loss=dict(dense_weight=0.0)))
train_pipeline = _base_._plain_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
