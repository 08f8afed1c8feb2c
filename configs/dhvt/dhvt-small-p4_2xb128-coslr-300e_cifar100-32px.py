# DHVT-S with patches of 4 on CIFAR-100 at 32 px, from scratch: the official recipe.
#   bash tools/dist_train.sh configs/dhvt/dhvt-small-p4_2xb128-coslr-300e_cifar100-32px.py 2 --amp
# Expected: top-1 82.91, the best of five runs (NeurIPS 2022, Table 4).
# Measured: not yet.
# Cost: not measured by us.
# Source: the same as DHVT-T, with the paper's batch size of 256; see
# schedules/dhvt_300e.py.
# Ours: the learning rate, by the official code's scaling rule; the paper does not say
# whether its own rate is meant before scaling.
_base_ = [
    '../_base_/models/dhvt_tiny.py',
    '../_base_/datasets/cifar100_32px_dhvt.py',
    '../_base_/schedules/dhvt_300e.py',
    '../_base_/runtime_cls.py',
]

model = dict(backbone=dict(arch='small-cifar'), head=dict(in_channels=384))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(start_factor=2e-3)  # from 1e-6
auto_scale_lr = dict(base_batch_size=256)
