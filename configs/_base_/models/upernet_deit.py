# UPerNet on DeiT-S with MultiLevelNeck: values of mmseg 1.2.2
# (_base_/models/upernet_vit-b16_ln_mln.py with vit/vit_deit-s16-ln_mln_
# upernet_8xb2-160k_ade20k-512x512.py).
# Ours: the backbone is mmpretrain's class, so that a classification checkpoint
# loads key by key (mmseg's ViT has other names); position embeddings are
# resized from 14x14 to 32x32 while loading.
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
        type='mmpretrain.VisionTransformer',
        arch='deit-small',
        img_size=512,
        patch_size=16,
        out_type='featmap',
        out_indices=(2, 5, 8, 11),
        # The last of the four maps passes the final norm; the others do not,
        # neither here nor in mmseg. LayerNorm's eps stays 1e-6, as in DeiT.
        final_norm=True,
        drop_path_rate=0.1,
        # Only for runs from random weights; the same as in mmpretrain's classifiers.
        init_cfg=[
            dict(type='TruncNormal', layer='Linear', std=0.02),
            dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
        ],
    ),
    neck=dict(
        type='MultiLevelNeck',
        in_channels=[384, 384, 384, 384],
        out_channels=384,
        scales=[4, 2, 1, 0.5],  # strides 4, 8, 16, 32
    ),
    decode_head=dict(
        type='UPerHead',
        in_channels=[384, 384, 384, 384],
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
        in_index=3,
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

# Reads the top-level `pretrained`. A classifier's ViT has all parameters of this
# backbone.
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
