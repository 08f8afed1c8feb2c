# Made by tools/configs/generate.py: change its tables, not this file.
# Control without label maps (only the class token is trained) of: LV-ViT-M of
# ImageNet-1k fine-tuned with token labels at 384 pixels.
#   bash tools/dist_train.sh configs/token_labeling/mixtoken_lvvit-medium-p16_in1k-pre_8xb64-coslr-30e_in1k-384px.py 8 --amp
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the matched control.
_base_ = './token-label_lvvit-medium-p16_in1k-pre_8xb64-coslr-30e_in1k-384px.py'

pretrained = 'work_dirs/mixtoken_lvvit-medium-p16_8xb128-coslr-310e_in1k/epoch_310.pth'
model = dict(head=dict(class_target='label', loss=dict(dense_weight=0.0)))
train_pipeline = _base_._plain_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
