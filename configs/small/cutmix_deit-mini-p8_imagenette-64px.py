# The control: plain CutMix. Only the head and the augment differ.
#   python tools/train.py configs/small/cutmix_deit-mini-p8_imagenette-64px.py
# Expected: no published number.
# Measured: top-1 42.6 ± 1.7, seeds 0, 1, 2 (docs/results.md).
# Cost: the same as the base config.
# Source: the base config.
# Ours: the matched control.
_base_ = './tlalign_deit-mini-p8_imagenette-64px.py'

model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(augments=[dict(type='mmtlalign.CutMix', alpha=1.0)]),
)
