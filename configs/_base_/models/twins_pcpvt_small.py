# Twins-PCPVT-S (NeurIPS 2021) with TL-Align; Twins-SVT-S changes the type.
model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='PCPVT',
        arch='small',
        qkv_bias=True,
        norm_cfg=dict(type='LN', eps=1e-6),
        norm_after_stage=[False, False, False, True],
        # Ours: the authors' repository states 0.3, but only for the base size.
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
        # Ours: the grid of the patch embedding; no paper says which grid to use.
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)],
        probs=None,
    ),
)
