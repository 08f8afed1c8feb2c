# DeiT-S on ImageNet's validation pictures, attacked by PGD.
#   python tools/test.py configs/evaluation/deit-small_pgd_in1k.py CHECKPOINT
# Expected: no number is confirmed.
# Measured: no.
# Cost: five forward and backward passes of 50,000 pictures.
# Source: Robust Vision Transformer, CVPR 2022, engine.py: epsilon 1/255, 5 steps.
# Ours: starts drawn for each picture by its index.
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
