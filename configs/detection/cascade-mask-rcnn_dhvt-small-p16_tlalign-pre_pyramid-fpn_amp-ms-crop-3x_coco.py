# COCO 2017 detection and instance segmentation: Cascade Mask R-CNN, 36 epochs
# (3x), on the DHVT-S backbone that TL-Align pretrained on ImageNet-1k.
#
#   bash tools/dist_train.sh THIS_FILE 8          (8 GPUs)
#   python tools/train.py THIS_FILE               (one process)
#   ... --cfg-options pretrained=FILE.pth          another backbone; None: random
#   ... --cfg-options optim_wrapper.type=OptimWrapper     without a GPU
#
# Cost: not measured by us.
# Recipe: that of Swin-T, official Swin detection code (Liu et al. 2021); see the
# _base_ files. Our choice: no paper takes DHVT to a dense task. Attention is global:
# a picture of 800 x 1333 is 4,200 tokens.
# Expected AP: in no paper. Ours: not measured yet.
_base_ = [
    '../_base_/models/cascade_mask_rcnn_dhvt.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/cascade_3x.py',
    '../_base_/runtime_det.py',
]

pretrained = 'work_dirs/tlalign_dhvt-small-p16_2xb128-coslr-300e_in1k/epoch_300.pth'
