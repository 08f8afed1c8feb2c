# 12 epochs, tenfold drops at 8 and 11: the 1x schedule of the official Swin detection
# code; all else is as in 3x. It is also used for Mask R-CNN.
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
