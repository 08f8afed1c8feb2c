# COCO 2017 detection and instance segmentation: Cascade Mask R-CNN, 12 epochs (1x), on
# the Swin-S backbone pretrained with TL-Align on ImageNet-1k.
#   bash tools/dist_train.sh configs/detection/cascade-mask-rcnn_swin-small-p4-w7_tlalign-pre_fpn_amp-ms-crop-1x_coco.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
#   ... --cfg-options optim_wrapper.type=OptimWrapper    without a GPU
# Expected: no number in the official tables.
# Measured: not yet.
# Cost: not measured by us.
# Source: the recipe of Swin-T in the official Swin detection code (Liu et al. 2021);
# see the _base_ files.
# Ours: the 1x schedule, which the official code has for Swin-T only; stochastic depth
# as in 3x.
_base_ = './cascade-mask-rcnn_swin-tiny-p4-w7_tlalign-pre_fpn_amp-ms-crop-1x_coco.py'

pretrained = 'work_dirs/tlalign_swin-small-p4-w7_16xb64-coslr-300e_in1k/epoch_300.pth'
model = dict(backbone=dict(arch='small'))
