# Control of token labels on DeiT-S: the same network and MixToken, no label maps; the
# class token alone is trained, on the labels of the images.
#   bash tools/dist_train.sh configs/token_labeling/mixtoken_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Expected top-1: no number is confirmed; not trained by us. Cost: not measured by us.
# Numbers: as the config below. Ours: that there is a control.
_base_ = './token-label_deit-small-p16_8xb128-coslr-300e_in1k.py'

model = dict(head=dict(class_target='label', loss=dict(dense_weight=0.0)))
train_pipeline = _base_._plain_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
