# DeiT-T with TL-Align on CIFAR-10 at 32 px (patch 4), from scratch.
#   python tools/train.py configs/tlalign/tlalign_deit-tiny-p4_1xb128-coslr-200e_cifar10-32px.py
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us; one GPU.
# Source: no published source; the paper uses CIFAR for fine-tuning only.
# Ours: every value of the recipe; see schedules/cifar_200e.py.
_base_ = [
    '../_base_/models/deit_small.py',
    '../_base_/datasets/cifar10_32px.py',
    '../_base_/schedules/cifar_200e.py',
    '../_base_/runtime_cls.py',
]

model = dict(
    backbone=dict(img_size=32, patch_size=4, arch='deit-tiny'),
    head=dict(num_classes=10, in_channels=192),
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)]
    ),
)
