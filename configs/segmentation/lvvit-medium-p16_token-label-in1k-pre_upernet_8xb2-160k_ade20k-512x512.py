# ADE20K semantic segmentation: UperNet on the LV-ViT-M backbone pretrained with token
# labels on ImageNet-1k.
#   bash tools/dist_train.sh configs/segmentation/lvvit-medium-p16_token-label-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py 8 --amp
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_lvvit-medium-p16_token-label-in1k-pre_upernet_8xb2-160k_ade20k-512x512 \
#       --cfg-options pretrained=work_dirs/mixtoken_lvvit-medium-p16_8xb128-coslr-310e_in1k/epoch_310.pth
# The official backbone: dropout in the feed-forward, no stochastic depth:
#   ... --cfg-options model.backbone.drop_path_rate=0.0 model.backbone.mlp_drop_rate=0.2
# Expected: official mIoU, single-scale / multi-scale + flip: 49.4 / 50.6, with 77M
# parameters.
# Measured: not yet.
# Cost: not measured by us.
# Source: official segmentation code of Token Labeling (fp16); see the _base_ files.
# Ours: real stochastic depth, and 2 images per GPU, which the official code states for
# LV-ViT-L only.
_base_ = './lvvit-small-p16_token-label-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'

pretrained = (
    'work_dirs/token-label_lvvit-medium-p16_8xb128-coslr-310e_in1k/epoch_310.pth'
)
model = dict(
    backbone=dict(arch='medium', out_indices=(10, 13, 16, 19), drop_path_rate=0.2),
    neck=dict(in_channels=512),
    decode_head=dict(in_channels=[512, 512, 512, 2048]),
    auxiliary_head=dict(in_channels=512),
)
