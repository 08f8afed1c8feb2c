# DeiT-S as a plain classifier, with the mixing of DeiT's fine-tuning: Mixup or CutMix,
# in half of the batches each. The configs set stochastic depth and the number of
# classes.
_base_ = '../../_base_/models/deit_small.py'

model = dict(
    type='ImageClassifier',
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
