# DeiT-S on ImageNet-O: whether it is less confident on images of unknown classes.
#   python tools/test.py configs/evaluation/deit-small_imagenet-o.py CHECKPOINT
# Other folders of ImageNet-O and of ImageNet's validation images:
#   ... --cfg-options data_root=FOLDER_O \
#       test_dataloader.dataset.datasets.1.data_root=IMAGENET/val
# Expected: no published number that we could confirm.
# Measured: not yet.
# Cost: inference on 12,000 images.
# Source: Natural Adversarial Examples, CVPR 2021, and its code.
# Ours: the crop of 224 from 256 pixels, as in the tests of DeiT's recipes; timm's
# numbers are with 248.
_base_ = [
    '../_base_/models/deit_small.py',
    '../_base_/evaluation/imagenet_o.py',
    '../_base_/runtime_cls.py',
]

data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
