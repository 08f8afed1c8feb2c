# COCO 2017 detection and instance segmentation: Mask R-CNN, 12 epochs (1x), on the
# Swin-T backbone that TL-Align pretrained on ImageNet-1k.
#
#   bash tools/dist_train.sh THIS_FILE 8          (8 GPUs)
#   python tools/train.py THIS_FILE               (one process)
#   ... --cfg-options pretrained=FILE.pth          another backbone; None: random
#   ... --cfg-options optim_wrapper.type=OptimWrapper     without a GPU
#
# Cost: not measured by us.
# Recipe: official Swin detection code (Liu et al. 2021); see the _base_ files. Only
# the initial weights differ. Our choice: stochastic depth as in 3x and in mmdet
# 3.3.0.
# Same recipe from supervised ImageNet-1k weights, official: box AP 43.7, mask AP 39.8
# (mmdet 3.3.0, pictures of one size: 42.7, 39.3). Ours: not measured yet.
_base_ = [
    '../_base_/models/mask_rcnn_swin_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/cascade_1x.py',
    '../_base_/runtime_det.py',
]

pretrained = 'work_dirs/tlalign_swin-tiny-p4-w7_16xb64-coslr-300e_in1k/epoch_300.pth'
