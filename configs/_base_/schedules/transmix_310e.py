# TransMix's released configs: batch 256, 300 epochs of cosine to 1e-5, then 10 at that
# value. Ours: the warm-up by iteration, as in ``deit_300e.py``, and the cosine starts
# when the warm-up ends (in the released code its phase counts from epoch 0, so the
# rates here are up to 6.2 % of the highest above those).
optim_wrapper = dict(
    optimizer=dict(
        type='AdamW', lr=1e-3, weight_decay=0.03, eps=1e-8, betas=(0.9, 0.999)
    ),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            '.cls_token': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        end=20,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20, end=300),
]
train_cfg = dict(by_epoch=True, max_epochs=310, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# The released code does not scale the learning rate with the batch size.
auto_scale_lr = dict(base_batch_size=256)
# The released code reports results of the averaged weights.
custom_hooks = [dict(type='EMAHook', momentum=4e-5, priority='ABOVE_NORMAL')]
