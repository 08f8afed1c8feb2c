# The control: CutMix, the target by the area of the box.
#   python tools/train.py configs/small/cutmix_vit-mini-p4_cifar10-32px.py --amp
#   ... --cfg-options data_root=DIR    where the pictures lie
# Expected: in no paper.
# Measured: no.
# Cost: see configs/plans/cifar10_vit-mini.py.
# Source: the base config.
# Ours: that there is a control.
_base_ = './_base_/cifar10_32px.py'

model = dict(train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]))
