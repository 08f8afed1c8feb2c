# ADE20K semantic segmentation: UperNet on the CASwin-T backbone (Swin with class
# attention) pretrained with TransMix on ImageNet-1k.
#   bash tools/dist_train.sh configs/segmentation/caswin-tiny-p4-w7_transmix-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_caswin-tiny-p4-w7_transmix-in1k-pre_upernet_8xb2-160k_ade20k-512x512 \
#       --cfg-options pretrained=work_dirs/cutmix_caswin-tiny-p4-w7_16xb64-coslr-300e_in1k/epoch_300.pth
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: the recipe of Swin-T in the official Swin segmentation code (Liu et al. 2021);
# see the _base_ files.
# Ours: the backbone is Swin-T without the last block, as no feature map depends on the
# class token.
_base_ = [
    '../_base_/models/upernet_swin.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/runtime_seg.py',
]

pretrained = 'work_dirs/transmix_caswin-tiny-p4-w7_16xb64-coslr-300e_in1k/epoch_300.pth'
model = dict(backbone=dict(type='mmtlalign.CASwin', out_type='featmap'))
