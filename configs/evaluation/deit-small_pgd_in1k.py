# DeiT-S on ImageNet's validation images, attacked by PGD.
#   python tools/test.py configs/evaluation/deit-small_pgd_in1k.py CHECKPOINT
# Expected: no published number that we could confirm.
# Measured: not yet.
# Cost: five forward and backward passes over 50,000 images.
# Source: Robust Vision Transformer, CVPR 2022, engine.py: epsilon 1/255, 5 steps.
# Ours: the random start of the attack, drawn for each image by its index.
_base_ = [
    '../_base_/models/deit_small.py',
    '../_base_/evaluation/imagenet_pgd.py',
    '../_base_/runtime_cls.py',
]

data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
