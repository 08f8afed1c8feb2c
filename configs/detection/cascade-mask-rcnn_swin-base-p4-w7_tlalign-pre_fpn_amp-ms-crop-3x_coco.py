# COCO 2017 detection and instance segmentation: Cascade Mask R-CNN, 36 epochs (3x), on
# the Swin-B backbone pretrained with TL-Align on ImageNet-1k.
#   bash tools/dist_train.sh configs/detection/cascade-mask-rcnn_swin-base-p4-w7_tlalign-pre_fpn_amp-ms-crop-3x_coco.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
#   ... --cfg-options optim_wrapper.type=OptimWrapper    without a GPU
# Expected: official numbers for the same recipe from supervised ImageNet-1k weights:
# box AP 51.9, mask AP 45.0.
# Measured: not yet.
# Cost: not measured by us.
# Source: official Swin detection code (Liu et al. 2021); see the _base_ files.
# Ours: the choice of initial weights.
_base_ = './cascade-mask-rcnn_swin-tiny-p4-w7_tlalign-pre_fpn_amp-ms-crop-3x_coco.py'

pretrained = 'work_dirs/tlalign_swin-base-p4-w7_16xb64-coslr-300e_in1k/epoch_300.pth'
model = dict(
    backbone=dict(arch='base', drop_path_rate=0.3),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
