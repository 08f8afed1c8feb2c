# LV-ViT-S as a plain classifier, with the mixing of DeiT. Without label maps of the new
# images, the image tokens have no labels: the released code gives them the weight 0, so
# only the class token is trained.
_base_ = '../../_base_/models/lvvit_small.py'

model = dict(
    type='ImageClassifier',
    head=dict(class_target='label', loss=dict(dense_weight=0.0)),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
