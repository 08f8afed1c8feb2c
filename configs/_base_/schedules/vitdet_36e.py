# AdamW of ViTDet (arXiv 2203.16527, appendix, and its code in detectron2): learning
# rate 1e-4 for a step of 64 images, weight decay 0.1 except for norms and positions,
# learning rates that decrease by a factor of 0.7 per layer towards the input, 250 steps
# of warm-up, tenfold drops at 8/9 and 26/27.
# Ours: 36 epochs instead of the paper's 100, and validation every fourth epoch.
# Mixed precision needs a GPU; on a CPU add
# --cfg-options optim_wrapper.type=OptimWrapper.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    # 8 GPUs x 2 images x 4 = 64 images a step; on other machines choose the last number
    # so that the product stays 64. There is no batch norm, so nothing else depends on
    # the batch size.
    accumulative_counts=4,
    constructor='mmtlalign.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        decay_rate=0.7,
        norm_decay_mult=0.0,
        custom_keys={'pos_embed': dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    # 250 steps are 1000 iterations.
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(
        type='MultiStepLR',
        by_epoch=True,
        begin=0,
        end=36,
        milestones=[32, 35],
        gamma=0.1,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=36, val_interval=4)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
