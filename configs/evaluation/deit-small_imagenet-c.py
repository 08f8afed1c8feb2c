# DeiT-S on ImageNet-C: mean error and mCE.
#   python tools/test.py configs/evaluation/deit-small_imagenet-c.py CHECKPOINT
# Expected: no published number that we could confirm.
# Measured: not yet.
# Cost: inference on 75 test sets of 50,000 images.
# Source: ICLR 2019; AlexNet's errors as in the code of AugMix.
# Ours: none; every setting has a source.
_base_ = [
    '../_base_/models/deit_small.py',
    '../_base_/evaluation/imagenet_c.py',
    '../_base_/runtime_cls.py',
]

data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
