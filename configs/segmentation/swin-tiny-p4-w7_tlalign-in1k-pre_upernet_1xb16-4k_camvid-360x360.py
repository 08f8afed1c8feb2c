# CamVid semantic segmentation: UperNet on the Swin-T backbone pretrained with TL-Align
# on ImageNet-1k.
#   python tools/train.py configs/segmentation/swin-tiny-p4-w7_tlalign-in1k-pre_upernet_1xb16-4k_camvid-360x360.py
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_swin-tiny-p4-w7_tlalign-in1k-pre_upernet_1xb16-4k_camvid-360x360 \
#       --cfg-options pretrained=work_dirs/cutmix_swin-tiny-p4-w7_16xb64-coslr-300e_in1k/epoch_300.pth
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: official Swin segmentation code; model and optimiser as for ADE20K.
# Ours: data, crop and the short schedule; none of the papers behind this project uses
# CamVid.
_base_ = [
    '../_base_/models/upernet_swin.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/upernet_4k.py',
    '../_base_/runtime_seg.py',
]

pretrained = 'work_dirs/tlalign_swin-tiny-p4-w7_16xb64-coslr-300e_in1k/epoch_300.pth'
model = dict(
    data_preprocessor=dict(size=(360, 360)),
    decode_head=dict(num_classes=11),
    auxiliary_head=dict(num_classes=11),
)
train_dataloader = dict(batch_size=16)
default_hooks = dict(checkpoint=dict(interval=1000))
