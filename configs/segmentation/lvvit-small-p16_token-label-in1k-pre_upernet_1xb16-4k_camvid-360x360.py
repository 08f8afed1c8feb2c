# CamVid semantic segmentation: UperNet on the LV-ViT-S backbone pretrained with token
# labels on ImageNet-1k.
#   python tools/train.py configs/segmentation/lvvit-small-p16_token-label-in1k-pre_upernet_1xb16-4k_camvid-360x360.py
#   ... --cfg-options pretrained=FILE.pth    another backbone; None: random weights
# The matched control, which differs only in these weights:
#   ... --work-dir work_dirs/control_lvvit-small-p16_token-label-in1k-pre_upernet_1xb16-4k_camvid-360x360 \
#       --cfg-options pretrained=work_dirs/mixtoken_lvvit-small-p16_8xb128-coslr-310e_in1k/epoch_310.pth
# Expected: no published number.
# Measured: not yet.
# Cost: not measured by us.
# Source: official Token Labeling code; model and optimiser as for ADE20K.
# Ours: data, crop, whole images in the test and the short schedule; none of the papers
# behind this project uses CamVid. As 360 is no multiple of 16, images are padded to
# whole patches, and predictions are cropped back.
_base_ = [
    '../_base_/models/upernet_lvvit.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/upernet_4k.py',
    '../_base_/runtime_seg.py',
]

pretrained = (
    'work_dirs/token-label_lvvit-small-p16_8xb128-coslr-310e_in1k/epoch_310.pth'
)
model = dict(
    data_preprocessor=dict(size=(368, 368)),
    backbone=dict(img_size=368),
    decode_head=dict(num_classes=11),
    auxiliary_head=dict(num_classes=11),
    test_cfg=dict(_delete_=True, mode='whole'),
)
train_dataloader = dict(batch_size=16)
default_hooks = dict(checkpoint=dict(interval=1000))
