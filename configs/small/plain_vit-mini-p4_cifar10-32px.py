# No mixing: the control with a probability of 0.
#   python tools/train.py configs/small/plain_vit-mini-p4_cifar10-32px.py --amp
#   ... --cfg-options data_root=DIR    where the pictures lie
# Expected: in no paper.
# Measured: no.
# Cost: see configs/plans/cifar10_vit-mini.py.
# Source: the base config.
# Ours: that there is a comparison.
_base_ = './cutmix_vit-mini-p4_cifar10-32px.py'

model = dict(train_cfg=dict(probs=[0.0]))
