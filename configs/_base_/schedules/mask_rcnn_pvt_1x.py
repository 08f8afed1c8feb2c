# 12 epochs of AdamW at batch 16 for PVT: mmdet 3.3.0 (pvt/retinanet_pvt-t_fpn_1x_coco
# on schedule_1x): the same weight decay for all parameters, single precision. The
# official PVT code differs in its learning rate of 2e-4.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
)
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
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# 8 GPUs x 2 images. --auto-scale-lr scales the learning rate for another batch size.
auto_scale_lr = dict(enable=False, base_batch_size=16)
