# CamVid semantic segmentation: UperNet with MultiLevelNeck on the DeiT-S backbone
# pretrained with TL-Align on ImageNet-1k.
#   python tools/train.py configs/segmentation/deit-small-p16-ln_tlalign-in1k-pre_mln-upernet_1xb16-4k_camvid-360x360.py
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_deit-small-p16-ln_tlalign-in1k-pre_mln-upernet_1xb16-4k_camvid-360x360 \
#       --cfg-options pretrained=work_dirs/cutmix_deit-small-p16_8xb128-coslr-300e_in1k/epoch_300.pth
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: mmseg 1.2.2; model and optimiser as for ADE20K.
# Ours: data, crop and the short schedule; none of the papers behind this project uses
# CamVid. As 360 is no multiple of 16, images are padded to whole patches, and
# predictions are cropped back.
_base_ = [
    '../_base_/models/upernet_deit.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/upernet_4k.py',
    '../_base_/runtime_seg.py',
]

pretrained = 'work_dirs/tlalign_deit-small-p16_8xb128-coslr-300e_in1k/epoch_300.pth'
model = dict(
    data_preprocessor=dict(size=(368, 368), test_cfg=dict(size_divisor=16)),
    backbone=dict(img_size=368),
    decode_head=dict(num_classes=11),
    auxiliary_head=dict(num_classes=11),
)
train_dataloader = dict(batch_size=16)
default_hooks = dict(checkpoint=dict(interval=1000))
