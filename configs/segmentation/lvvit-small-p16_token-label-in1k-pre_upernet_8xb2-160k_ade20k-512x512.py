# ADE20K semantic segmentation: UperNet on the LV-ViT-S backbone pretrained with token
# labels on ImageNet-1k.
#   bash tools/dist_train.sh configs/segmentation/lvvit-small-p16_token-label-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py 8 --amp
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_lvvit-small-p16_token-label-in1k-pre_upernet_8xb2-160k_ade20k-512x512 \
#       --cfg-options pretrained=work_dirs/mixtoken_lvvit-small-p16_8xb128-coslr-310e_in1k/epoch_310.pth
# The official backbone: dropout in the feed-forward, no stochastic depth:
#   ... --cfg-options model.backbone.drop_path_rate=0.0 model.backbone.mlp_drop_rate=0.1
# Expected: official mIoU, single-scale / multi-scale + flip: 47.9 / 48.6, with 44M
# parameters.
# Measured: not yet.
# Cost: not measured by us.
# Source: official segmentation code of Token Labeling (fp16); see the _base_ files.
# Ours: real stochastic depth, and 2 images per GPU, which the official code states for
# LV-ViT-L only.
_base_ = [
    '../_base_/models/upernet_lvvit.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/runtime_seg.py',
]

pretrained = (
    'work_dirs/token-label_lvvit-small-p16_8xb128-coslr-310e_in1k/epoch_310.pth'
)
