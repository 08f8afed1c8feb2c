# Twins-PCPVT-S (NeurIPS 2021) with TL-Align; Twins-SVT-S changes the type.
model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='PCPVT',
        arch='small',
        qkv_bias=True,
        norm_cfg=dict(type='LN', eps=1e-6),
        norm_after_stage=[False, False, False, True],
        # Ours: the authors' repository gives 0.3, for the base size alone.
        drop_path_rate=0.2,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='mmtlalign.TLAlignLinearClsHead',
        num_classes=1000,
        in_channels=512,
        init_cfg=None,  # the model's initialisation, not the head's own
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
    train_cfg=dict(
        # Ours: no paper says on which grid; the patch embedding's.
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)],
        probs=None,
    ),
)
