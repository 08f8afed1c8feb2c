# Swin-T with class attention (TransMix, CVPR 2022), mixed as in Swin's own recipe; the
# other sizes change arch and in_channels.
model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='mmtlalign.CASwin', arch='tiny', img_size=224, drop_path_rate=0.2
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        init_cfg=None,  # the model's initialisation, not the head's own
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
    train_cfg=dict(
        augments=[
            dict(type='mmtlalign.Mixup', alpha=0.8),
            dict(type='mmtlalign.CutMix', alpha=1.0),
        ],
        probs=[0.5, 0.5],
    ),
)
