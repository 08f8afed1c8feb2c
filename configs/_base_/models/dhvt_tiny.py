# DHVT-T (NeurIPS 2022) for CIFAR with patches of 4, mixed as in its official script;
# other variants change arch, patch_size and in_channels.
model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='mmtlalign.DHVT',
        arch='tiny-cifar',
        patch_size=4,
        # The same for T and S.
        drop_path_rate=0.1,
        # Batch norm across GPUs, as in the official code; that of the feed-forward is
        # not.
        patch_norm_cfg=dict(type='SyncBN'),
    ),
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=100,
        in_channels=192,
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
