# COCO 2017 detection and instance segmentation: Mask R-CNN, 12 epochs (1x), on the
# Swin-T backbone pretrained with TL-Align on ImageNet-1k.
#   bash tools/dist_train.sh configs/detection/mask-rcnn_swin-tiny-p4-w7_tlalign-pre_fpn_amp-ms-crop-1x_coco.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
#   ... --cfg-options optim_wrapper.type=OptimWrapper    without a GPU
# Expected: official numbers for the same recipe from supervised ImageNet-1k weights:
# box AP 43.7, mask AP 39.8 (mmdet 3.3.0, images of one size: 42.7, 39.3).
# Measured: not yet.
# Cost: not measured by us.
# Source: official Swin detection code (Liu et al. 2021); see the _base_ files. Only the
# initial weights differ.
# Ours: stochastic depth as in 3x and in mmdet 3.3.0.
_base_ = [
    '../_base_/models/mask_rcnn_swin_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/cascade_1x.py',
    '../_base_/runtime_det.py',
]

pretrained = 'work_dirs/tlalign_swin-tiny-p4-w7_16xb64-coslr-300e_in1k/epoch_300.pth'
