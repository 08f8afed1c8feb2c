# Made by tools/configs/generate.py: change its tables, not this file.
# Control without label maps (only the class token is trained) of: LV-ViT-S with token
# labels and MixToken on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/token_labeling/mixtoken_lvvit-small-p16_8xb128-coslr-310e_in1k.py 8 --amp
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control. For training without label maps the authors advise Mixup of
# 0.8 or CutMix of 1.0 instead (issue 6 of their tracker).
_base_ = './token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py'

model = dict(head=dict(class_target='label', loss=dict(dense_weight=0.0)))
train_pipeline = _base_._plain_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
