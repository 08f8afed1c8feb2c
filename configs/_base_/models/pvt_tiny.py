# PVT-T (ICCV 2021) with the class token of its paper, mixed as in its official script;
# the other sizes change arch.
model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(type='mmtlalign.PVT', arch='tiny', drop_path_rate=0.1),
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=1000,
        in_channels=512,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(
        augments=[
            dict(type='mmtlalign.Mixup', alpha=0.8),
            dict(type='mmtlalign.CutMix', alpha=1.0),
        ],
        probs=[0.5, 0.5],
    ),
)
