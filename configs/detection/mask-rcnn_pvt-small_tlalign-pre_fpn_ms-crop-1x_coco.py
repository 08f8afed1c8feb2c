# COCO 2017 detection and instance segmentation: Mask R-CNN, 12 epochs (1x), on the
# PVT-S backbone pretrained with TL-Align on ImageNet-1k.
#   bash tools/dist_train.sh configs/detection/mask-rcnn_pvt-small_tlalign-pre_fpn_ms-crop-1x_coco.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# Expected: from supervised ImageNet-1k weights and with images of one size, according
# to the PVT paper (Table 4): box AP 40.4, mask AP 37.8.
# Measured: not yet.
# Cost: not measured by us.
# Source: optimiser and schedule of mmdet 3.3.0's RetinaNet on PVT, model of Wang et al.
# 2021; see the _base_ files.
# Ours: the multi-scale images of the Swin recipes, and stochastic depth 0.1 as in
# pretraining.
_base_ = [
    '../_base_/models/mask_rcnn_pvt_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/mask_rcnn_pvt_1x.py',
    '../_base_/runtime_det.py',
]

pretrained = 'work_dirs/tlalign_pvt-small_8xb128-coslr-300e_in1k/epoch_300.pth'
