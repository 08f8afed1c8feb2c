# UPerNet on LV-ViT-S: Token Labeling's segmentation code (official, arXiv 2104.10858).
# Four layers without a final norm, side layers of strides 4, 8, 16 and 16, narrow
# heads; the last map has 2048 channels.
# Ours: stochastic depth, which the official code passes on as dropout of the
# feed-forward (mlp_drop_rate here), and position embeddings for the crop's 32x32
# tokens, which are resized while loading (in the official code they have the grid of
# pretraining and are resized at every step), and norms that keep the eps of
# pretraining, 1e-5 (there norm_cfg=dict(type='LN', eps=1e-6)).
# The stem's norms are not synchronised, as in pretraining.
_base_ = './upernet_deit.py'

model = dict(
    # Images are padded to whole patches, and predictions are cropped back.
    data_preprocessor=dict(test_cfg=dict(size_divisor=16)),
    backbone=dict(
        _delete_=True,
        type='mmtlalign.LVViT',
        arch='small',
        img_size=512,
        patch_size=16,
        out_type='featmap',
        out_indices=(6, 9, 12, 15),
        final_norm=False,
        drop_path_rate=0.1,
    ),
    neck=dict(
        _delete_=True,
        type='mmtlalign.LVViTNeck',
        in_channels=384,
        last_channels=2048,
        norm_cfg=dict(type='SyncBN'),
    ),
    decode_head=dict(in_channels=[384, 384, 384, 2048], channels=256),
    auxiliary_head=dict(in_channels=384, in_index=2),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
