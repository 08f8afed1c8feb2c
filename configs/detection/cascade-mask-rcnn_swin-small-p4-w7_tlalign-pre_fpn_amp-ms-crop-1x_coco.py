# COCO 2017 detection and instance segmentation: Cascade Mask R-CNN, 12 epochs (1x), on
# the Swin-S backbone that TL-Align pretrained on ImageNet-1k.
#   bash tools/dist_train.sh configs/detection/cascade-mask-rcnn_swin-small-p4-w7_tlalign-pre_fpn_amp-ms-crop-1x_coco.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random
#   ... --cfg-options optim_wrapper.type=OptimWrapper    without a GPU
# Expected: in no official table.
# Measured: no.
# Cost: not measured by us.
# Source: that of Swin-T, official Swin detection code (Liu et al. 2021); see the _base_
# files.
# Ours: the official code has 1x for Swin-T only; stochastic depth as in 3x.
_base_ = './cascade-mask-rcnn_swin-tiny-p4-w7_tlalign-pre_fpn_amp-ms-crop-1x_coco.py'

pretrained = 'work_dirs/tlalign_swin-small-p4-w7_16xb64-coslr-300e_in1k/epoch_300.pth'
model = dict(backbone=dict(arch='small'))
