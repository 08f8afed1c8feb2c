# DeiT-S with TL-Align on CIFAR-100 at 224 px (patch 16), from scratch.
#   python tools/train.py configs/tlalign/tlalign_deit-small-p16_1xb128-coslr-200e_cifar100-224px.py
# Expected: no published number is known to us.
# Measured: not yet.
# Cost: not measured by us; one GPU.
# Source: no published source; the paper uses CIFAR for fine-tuning only.
# Ours: every value of the recipe; see schedules/cifar_200e.py.
_base_ = [
    '../_base_/models/deit_small.py',
    '../_base_/datasets/cifar100_224px.py',
    '../_base_/schedules/cifar_200e.py',
    '../_base_/runtime_cls.py',
]

model = dict(head=dict(num_classes=100))
