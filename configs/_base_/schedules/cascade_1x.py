# 12 epochs, tenfold drops at 8 and 11: the 1x form of the official Swin detection
# code; all else as 3x. Mask R-CNN takes it too.
_base_ = './cascade_3x.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type='MultiStepLR',
        by_epoch=True,
        begin=0,
        end=12,
        milestones=[8, 11],
        gamma=0.1,
    ),
]
train_cfg = dict(max_epochs=12)
