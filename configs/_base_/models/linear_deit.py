# The linear head of Segmenter on DeiT-S: one 1x1 convolution on the last block's
# tokens, resized to the image, as in mmseg 1.2.2's segmenter_vit-s_fcn.
_base_ = './segmenter_deit.py'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=384,
        channels=384,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    )
)
