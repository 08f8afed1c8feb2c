# 36 epochs of AdamW at batch 16, tenfold drops at 27 and 33, for Cascade Mask R-CNN
# and Mask R-CNN: official Swin detection code. Warm-up is its 500 iterations (mmdet
# 3's 3x files: 1000).
# Mixed precision as there, but with torch instead of apex. It needs a GPU; on a CPU
# add --cfg-options optim_wrapper.type=OptimWrapper.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    # Keys match substrings of parameter names; everything else has weight decay.
    paramwise_cfg=dict(
        custom_keys={
            'absolute_pos_embed': dict(decay_mult=0.0),
            'relative_position_bias_table': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
            # DHVT, whose LayerNorms are called ln1 and ln2.
            'cls_token': dict(decay_mult=0.0),
            '.ln': dict(decay_mult=0.0),
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type='MultiStepLR',
        by_epoch=True,
        begin=0,
        end=36,
        milestones=[27, 33],
        gamma=0.1,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=36, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# 8 GPUs x 2 images. --auto-scale-lr scales the learning rate for another batch size.
auto_scale_lr = dict(enable=False, base_batch_size=16)
