# ADE20K semantic segmentation: UperNet with MultiLevelNeck on the DHVT-S backbone
# pretrained with TL-Align on ImageNet-1k.
#   bash tools/dist_train.sh configs/segmentation/dhvt-small-p16_tlalign-in1k-pre_mln-upernet_8xb2-160k_ade20k-512x512.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_dhvt-small-p16_tlalign-in1k-pre_mln-upernet_8xb2-160k_ade20k-512x512 \
#       --cfg-options pretrained=work_dirs/cutmix_dhvt-small-p16_2xb128-coslr-300e_in1k/epoch_300.pth
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: the recipe of DeiT-S in mmseg 1.2.2 (vit_deit-s16-ln_mln_upernet_8xb2-160k);
# see the _base_ files.
# Ours: the use of DHVT for a dense task, which is in no paper.
_base_ = [
    '../_base_/models/upernet_dhvt.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/runtime_seg.py',
]

pretrained = 'work_dirs/tlalign_dhvt-small-p16_2xb128-coslr-300e_in1k/epoch_300.pth'
