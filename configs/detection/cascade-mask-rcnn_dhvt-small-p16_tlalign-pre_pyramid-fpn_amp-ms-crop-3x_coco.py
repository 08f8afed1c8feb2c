# COCO 2017 detection and instance segmentation: Cascade Mask R-CNN, 36 epochs (3x), on
# the DHVT-S backbone pretrained with TL-Align on ImageNet-1k.
#   bash tools/dist_train.sh configs/detection/cascade-mask-rcnn_dhvt-small-p16_tlalign-pre_pyramid-fpn_amp-ms-crop-3x_coco.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
#   ... --cfg-options optim_wrapper.type=OptimWrapper    without a GPU
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: the recipe of Swin-T in the official Swin detection code (Liu et al. 2021);
# see the _base_ files.
# Ours: the use of DHVT for a dense task, which is in no paper. Attention is global: an
# image of 800 x 1333 pixels has 4,200 tokens.
_base_ = [
    '../_base_/models/cascade_mask_rcnn_dhvt.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/cascade_3x.py',
    '../_base_/runtime_det.py',
]

pretrained = 'work_dirs/tlalign_dhvt-small-p16_2xb128-coslr-300e_in1k/epoch_300.pth'
