# ADE20K semantic segmentation: UperNet on the Swin-T backbone pretrained with TL-Align
# on ImageNet-1k.
#   bash tools/dist_train.sh configs/segmentation/swin-tiny-p4-w7_tlalign-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_swin-tiny-p4-w7_tlalign-in1k-pre_upernet_8xb2-160k_ade20k-512x512 \
#       --cfg-options pretrained=work_dirs/cutmix_swin-tiny-p4-w7_16xb64-coslr-300e_in1k/epoch_300.pth
# Expected: the same recipe from supervised ImageNet-1k weights, mIoU single-scale /
# multi-scale + flip: official 44.51 / 45.81, mmseg 1.2.2 44.41 / 45.79.
# Measured: not yet.
# Cost: not measured by us. mmseg 1.2.2 reports 5.02 GB per GPU on 8 V100 for its own
# form of this model.
# Source: official Swin segmentation code (Liu et al. 2021), as in mmseg 1.2.2; see the
# _base_ files.
# Ours: the choice of initial weights.
_base_ = [
    '../_base_/models/upernet_swin.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/runtime_seg.py',
]

pretrained = 'work_dirs/tlalign_swin-tiny-p4-w7_16xb64-coslr-300e_in1k/epoch_300.pth'
