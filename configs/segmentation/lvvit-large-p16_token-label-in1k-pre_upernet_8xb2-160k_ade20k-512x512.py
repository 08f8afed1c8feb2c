# ADE20K semantic segmentation: UperNet on the LV-ViT-L backbone pretrained with token
# labels on ImageNet-1k.
#   bash tools/dist_train.sh configs/segmentation/lvvit-large-p16_token-label-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py 8 --amp
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_lvvit-large-p16_token-label-in1k-pre_upernet_8xb2-160k_ade20k-512x512 \
#       --cfg-options pretrained=work_dirs/mixtoken_lvvit-large-p16_8xb128-coslr-310e_in1k/epoch_310.pth
# The official backbone: dropout in the feed-forward, no stochastic depth, branches not
# divided by the 3 of pretraining, from 448 pixels:
#   ... --cfg-options model.backbone.drop_path_rate=0.0 model.backbone.mlp_drop_rate=0.5 \
#       model.backbone.skip_lam=1.0 model.backbone.img_size=448
# Expected: official mIoU, single-scale / multi-scale + flip: 50.9 / 51.8, with 209M
# parameters.
# Measured: not yet.
# Cost: not measured by us.
# Source: official segmentation code of Token Labeling (fp16); see the _base_ files.
# Ours: real stochastic depth, and residual branches divided as in pretraining.
_base_ = './lvvit-small-p16_token-label-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'

pretrained = (
    'work_dirs/token-label_lvvit-large-p16_8xb128-coslr-310e_in1k/epoch_310.pth'
)
model = dict(
    backbone=dict(arch='large', out_indices=(14, 17, 20, 23), drop_path_rate=0.5),
    neck=dict(in_channels=768),
    decode_head=dict(in_channels=[768, 768, 768, 2048], channels=512),
    # Ours: 512 here as well, so that the model has the official number of parameters.
    auxiliary_head=dict(in_channels=768, channels=512),
)
