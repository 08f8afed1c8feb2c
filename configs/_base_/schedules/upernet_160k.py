# 160k iterations of AdamW at batch 16, linear warm-up, then linear to 0:
# official Swin segmentation code; mmseg 1.2.2 uses the same for Swin and DeiT.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    # Keys match substrings of parameter names; everything else has weight decay.
    paramwise_cfg=dict(
        custom_keys={
            # Swin
            'absolute_pos_embed': dict(decay_mult=0.0),
            'relative_position_bias_table': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
            # ViT and DHVT, whose LayerNorms are called ln1 and ln2. Ours: mmseg's
            # configs say 'norm' for ViT as well, which matches nothing there, so its
            # published runs used weight decay on the LayerNorms.
            'pos_embed': dict(decay_mult=0.0),
            'cls_token': dict(decay_mult=0.0),
            '.ln': dict(decay_mult=0.0),
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(
        type='PolyLR',
        eta_min=0.0,
        power=1.0,
        by_epoch=False,
        begin=1500,
        end=160000,
    ),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# 8 GPUs x 2 images. --auto-scale-lr scales the learning rate for another batch size.
auto_scale_lr = dict(enable=False, base_batch_size=16)
