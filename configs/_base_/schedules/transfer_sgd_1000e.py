# DeiT's fine-tuning on CIFAR-10 and Cars with SGD, for a batch of 768: its author in
# facebookresearch/deit issue 45. Stochastic depth is off (in the configs), and so is
# random erasing (in the data). The rest is as on ImageNet: warm-up, minimum learning
# rate, no weight decay of norms and biases. In DeiT's code, `--opt sgd` means Nesterov
# momentum of 0.9. Not confirmed: whether 0.01 is the rate before DeiT's scaling by 768
# / 512; it is used as stated. Ours: the cosine starts when the warm-up ends; the model
# is tested every 10 epochs.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            '.cls_token': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
            '.relative_position_bias_table': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,  # from 1e-6
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5),
]
train_cfg = dict(by_epoch=True, max_epochs=1000, val_interval=10)
val_cfg = dict()
test_cfg = dict()
# With --auto-scale-lr the learning rate is 0.01 x batch / 768.
auto_scale_lr = dict(base_batch_size=768)
