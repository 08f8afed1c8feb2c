# The control: CutMix with the target by the area of the box.
#   python tools/train.py configs/small/cutmix_vit-mini-p4_cifar10-32px.py --amp
#   ... --cfg-options data_root=DIR    the folder of the images
# Expected: no published number.
# Measured: not yet.
# Cost: see configs/plans/cifar10_vit-mini.py.
# Source: the base config.
# Ours: the matched control.
_base_ = './_base_/cifar10_32px.py'

model = dict(train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]))
