# ADE20K semantic segmentation: UperNet with MultiLevelNeck on the DeiT-B backbone
# pretrained with TL-Align on ImageNet-1k.
#   bash tools/dist_train.sh configs/segmentation/deit-base-p16-ln_tlalign-in1k-pre_mln-upernet_8xb2-160k_ade20k-512x512.py 8
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_deit-base-p16-ln_tlalign-in1k-pre_mln-upernet_8xb2-160k_ade20k-512x512 \
#       --cfg-options pretrained=work_dirs/cutmix_deit-base-p16_8xb128-coslr-300e_in1k/epoch_300.pth
# Expected: mmseg 1.2.2's own form of this model from supervised ImageNet-1k weights,
# mIoU single-scale / multi-scale + flip: 45.37 / 47.23.
# Measured: not yet.
# Cost: not measured by us. mmseg 1.2.2 reports 9.21 GB per GPU on 8 V100 for its own
# form of this model.
# Source: mmseg 1.2.2, vit/vit_deit-b16-ln_mln_upernet_8xb2-160k_ade20k-512x512; see the
# _base_ files.
# Ours: the use of DeiT-B on ADE20K, which is not in the paper; the model has the form
# of that with DeiT-S.
_base_ = './deit-small-p16-ln_tlalign-in1k-pre_mln-upernet_8xb2-160k_ade20k-512x512.py'

pretrained = 'work_dirs/tlalign_deit-base-p16_8xb128-coslr-300e_in1k/epoch_300.pth'
model = dict(
    backbone=dict(arch='deit-base'),
    neck=dict(in_channels=[768, 768, 768, 768], out_channels=768),
    decode_head=dict(in_channels=[768, 768, 768, 768]),
    auxiliary_head=dict(in_channels=768),
)
