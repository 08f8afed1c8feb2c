# Control of LV-ViT-S fine-tuned with token labels at 384 pixels: no label maps, neither
# here nor in the pretraining it starts from.
#   bash tools/dist_train.sh configs/token_labeling/mixtoken_lvvit-small-p16_in1k-pre_8xb64-coslr-30e_in1k-384px.py 8 --amp
# Expected top-1: no number is confirmed; not trained by us. Cost: not measured by us.
# Numbers: as the config below. Ours: that there is a control.
_base_ = './token-label_lvvit-small-p16_in1k-pre_8xb64-coslr-30e_in1k-384px.py'

pretrained = 'work_dirs/mixtoken_lvvit-small-p16_8xb128-coslr-310e_in1k/epoch_310.pth'
model = dict(head=dict(class_target='label', loss=dict(dense_weight=0.0)))
train_pipeline = _base_._plain_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
