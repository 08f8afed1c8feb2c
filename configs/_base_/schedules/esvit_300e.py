# 300 epochs of EsViT (ICLR 2022, official code and README), for a batch of 512:
# learning rate 5e-4 for each 256 images, weight decay rising, both by iteration.
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.04),
    # Biases and norms have no weight decay; the bias tables of windows do.
    paramwise_cfg=dict(flat_decay_mult=0.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-8,  # almost 0: a factor of 0 would keep the rate at 0
        by_epoch=True,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=10,
        end=300,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingWeightDecay',
        eta_min=0.4,
        by_epoch=True,
        end=300,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    dict(
        type='mmtlalign.EsViTHook',
        momentum=0.996,
        teacher_temp=0.07,
        warmup_teacher_temp=0.04,
        warmup_teacher_temp_epochs=30,
        freeze_last_layer=1,
    ),
    dict(type='mmtlalign.TensorClipHook', max_norm=3.0),
]
train_cfg = dict(by_epoch=True, max_epochs=300)
auto_scale_lr = dict(base_batch_size=512)
