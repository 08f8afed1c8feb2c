# COCO 2017 detection and instance segmentation: Mask R-CNN, 36 epochs, on the plain
# DeiT-B backbone pretrained with TL-Align on ImageNet-1k, in windows of 14 x 14 tokens
# with four global layers and a simple feature pyramid.
#   bash tools/dist_train.sh configs/detection/mask-rcnn_deit-base-p16_tlalign-pre_sfp_amp-lsj-36e_coco.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
#   ... --cfg-options optim_wrapper.type=OptimWrapper    without a GPU
# Expected: detectron2's ViTDet with ViT-B from MAE weights and 100 epochs: box AP 51.6,
# mask AP 45.9.
# Measured: not yet.
# Cost: not measured by us.
# Source: ViTDet (Li et al. 2022; detectron2, projects/ViTDet) with 36 epochs instead of
# its 100; see the _base_ files.
# Ours: 36 epochs, and the choice of initial weights.
_base_ = './mask-rcnn_deit-small-p16_tlalign-pre_sfp_amp-lsj-36e_coco.py'

pretrained = 'work_dirs/tlalign_deit-base-p16_8xb128-coslr-300e_in1k/epoch_300.pth'
model = dict(backbone=dict(arch='deit-base'), neck=dict(in_channels=768))
