# COCO 2017 detection and instance segmentation: Cascade Mask R-CNN, 36 epochs (3x), on
# the Swin-T backbone pretrained with TL-Align on ImageNet-1k.
#   bash tools/dist_train.sh configs/detection/cascade-mask-rcnn_swin-tiny-p4-w7_tlalign-pre_fpn_amp-ms-crop-3x_coco.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
#   ... --cfg-options optim_wrapper.type=OptimWrapper    without a GPU
# Expected: official numbers for the same recipe from supervised ImageNet-1k weights:
# box AP 50.4, mask AP 43.7.
# Measured: not yet.
# Cost: not measured by us.
# Source: official Swin detection code (Liu et al. 2021); see the _base_ files.
# Ours: the choice of initial weights.
_base_ = [
    '../_base_/models/cascade_mask_rcnn_swin_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/cascade_3x.py',
    '../_base_/runtime_det.py',
]

pretrained = 'work_dirs/tlalign_swin-tiny-p4-w7_16xb64-coslr-300e_in1k/epoch_300.pth'
