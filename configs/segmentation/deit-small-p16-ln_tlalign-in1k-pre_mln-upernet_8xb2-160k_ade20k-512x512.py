# ADE20K semantic segmentation: UperNet with MultiLevelNeck on the DeiT-S backbone
# pretrained with TL-Align on ImageNet-1k.
#   bash tools/dist_train.sh configs/segmentation/deit-small-p16-ln_tlalign-in1k-pre_mln-upernet_8xb2-160k_ade20k-512x512.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_deit-small-p16-ln_tlalign-in1k-pre_mln-upernet_8xb2-160k_ade20k-512x512 \
#       --cfg-options pretrained=work_dirs/cutmix_deit-small-p16_8xb128-coslr-300e_in1k/epoch_300.pth
# Expected: mmseg 1.2.2's own form of this model from supervised ImageNet-1k weights,
# mIoU single-scale / multi-scale + flip: 43.52 / 45.01.
# Measured: not yet.
# Cost: not measured by us. mmseg 1.2.2 reports 5.69 GB per GPU on 8 V100 for its own
# form of this model.
# Source: mmseg 1.2.2, vit/vit_deit-s16-ln_mln_upernet_8xb2-160k_ade20k-512x512; see the
# _base_ files.
# Ours: the choice of the decoder: the paper reports DeiT-S on ADE20K but does not say
# with which decoder. Of mmseg's four variants, this one has neck and final norm.
_base_ = [
    '../_base_/models/upernet_deit.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/runtime_seg.py',
]

pretrained = 'work_dirs/tlalign_deit-small-p16_8xb128-coslr-300e_in1k/epoch_300.pth'
