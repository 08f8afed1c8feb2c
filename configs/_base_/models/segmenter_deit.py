# Segmenter (Strudel et al. 2021) on DeiT-S: a mask transformer of two layers on the
# last block's tokens, after the final norm. Values of the authors' code for DeiT.
# In mmseg 1.2.2 the decoder has drop path 0.1 and no dropout, and images are normalised
# for ViT weights: mean = std = 127.5, which is wrong for DeiT.
# Ours: the backbone is mmpretrain's class, so that a classification checkpoint
# loads key by key. There is no segmentor-level `pretrained`, which mmseg would push
# into the backbone; the hook below reads the config's top-level one.
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
        # Images are padded to whole patches and predictions cropped back, as in the
        # authors' code.
        test_cfg=dict(size_divisor=16),
    ),
    backbone=dict(
        type='mmpretrain.VisionTransformer',
        arch='deit-small',
        img_size=512,
        patch_size=16,
        out_type='featmap',  # of the last block only
        final_norm=True,
        drop_path_rate=0.1,
        # Only for runs from random weights; the same as in mmpretrain's classifiers.
        init_cfg=[
            dict(type='TruncNormal', layer='Linear', std=0.02),
            dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
        ],
    ),
    decode_head=dict(
        type='SegmenterMaskTransformerHead',
        in_channels=384,
        channels=384,
        embed_dims=384,
        num_layers=2,
        num_heads=6,
        drop_path_rate=0.0,
        drop_rate=0.1,
        attn_drop_rate=0.1,
        dropout_ratio=0.0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
    train_cfg=dict(),
    # Images smaller than the window are used as they are.
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(512, 512)),
)

# The backbone has exactly the parameters of a classifier's ViT.
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
