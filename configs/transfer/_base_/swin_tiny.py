# Swin-T as a plain classifier, with the mixing of DeiT.
_base_ = '../../_base_/models/swin_tiny.py'

model = dict(
    type='ImageClassifier',
    head=dict(type='LinearClsHead'),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
