# DHVT-S as a plain classifier, with the mixing of DeiT.
_base_ = '../../_base_/models/dhvt_tiny.py'

model = dict(
    type='ImageClassifier',
    backbone=dict(arch='small-imagenet', patch_size=16),
    head=dict(in_channels=384),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
