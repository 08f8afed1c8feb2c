# No mixing: the control with a mixing probability of 0.
#   python tools/train.py configs/small/plain_vit-mini-p4_cifar10-32px.py --amp
#   ... --cfg-options data_root=DIR    the folder of the images
# Expected: no published number.
# Measured: not yet.
# Cost: see configs/plans/cifar10_vit-mini.py.
# Source: the base config.
# Ours: the comparison with a run without mixing.
_base_ = './cutmix_vit-mini-p4_cifar10-32px.py'

model = dict(train_cfg=dict(probs=[0.0]))
