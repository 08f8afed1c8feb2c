# The control: plain CutMix. Only the head and the augment differ.
#   python tools/train.py configs/small/cutmix_swin-mini-p4-w4_imagenette-64px.py
# Expected: no published number.
# Measured: top-1 45.7 ± 1.7, seeds 0, 1, 2 (docs/results.md).
# Cost: the same as the base config.
# Source: the base config.
# Ours: the matched control.
_base_ = './tlalign_swin-mini-p4-w4_imagenette-64px.py'

model = dict(
    head=dict(type='LinearClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
