# UPerNet on Swin-T: Liu et al. 2021 (official Swin-Transformer-Semantic-
# Segmentation, upernet_swin_tiny_patch4_window7_512x512_160k_ade20k); the same values
# are in mmseg 1.2.2 (_base_/models/upernet_swin.py).
# Ours: the backbone is mmpretrain's class, so that a classification checkpoint
# loads key by key.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),  # the crop of training
    ),
    backbone=dict(
        type='mmpretrain.SwinTransformer',
        arch='tiny',
        window_size=7,
        out_indices=(0, 1, 2, 3),
        # With the default, False, maps smaller than a window are an error.
        pad_small_map=True,
        drop_path_rate=0.3,
        # LayerNorm's eps stays 1e-5, mmpretrain's default, as in pretraining.
        # Only for runs from random weights; the same as in mmpretrain's classifiers.
        init_cfg=[
            dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
            dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
        ],
    ),
    decode_head=dict(
        type='UPerHead',
        in_channels=[96, 192, 384, 768],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=384,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)

# Reads the top-level `pretrained`. A classifier has only the last norm.
custom_hooks = [
    dict(
        type='mmtlalign.PretrainedBackboneHook',
        new_layers=('norm0', 'norm1', 'norm2'),
    )
]
