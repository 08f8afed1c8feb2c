# Swin-T (ICCV 2021) with TL-Align; the other sizes change arch and in_channels.
model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='SwinTransformer', arch='tiny', img_size=224, drop_path_rate=0.2
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='mmtlalign.TLAlignLinearClsHead',
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
        # Ours: the grid of the patch embedding; the paper does not say which grid it
        # uses.
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)],
        probs=None,
    ),
)
