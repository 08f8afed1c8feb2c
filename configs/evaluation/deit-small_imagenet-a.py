# DeiT-S on ImageNet-A: accuracy and calibration among its 200 classes.
#   python tools/test.py configs/evaluation/deit-small_imagenet-a.py CHECKPOINT
# Expected: top-1 18.7 for plain DeiT-S, from timm's tables.
# Measured: not yet.
# Cost: inference on 7,500 images.
# Source: Natural Adversarial Examples, CVPR 2021, and its code.
# Ours: the crop of 224 from 256 pixels, as in the tests of DeiT's recipes; timm's
# numbers are with 248.
_base_ = [
    '../_base_/models/deit_small.py',
    '../_base_/evaluation/imagenet_a.py',
    '../_base_/runtime_cls.py',
]

data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
