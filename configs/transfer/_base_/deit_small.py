# DeiT-S as a plain classifier, mixed as DeiT fine-tunes: Mixup or CutMix, one batch each
# in two. The configs set stochastic depth and the number of classes.
_base_ = '../../_base_/models/deit_small.py'

model = dict(
    type='ImageClassifier',
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
