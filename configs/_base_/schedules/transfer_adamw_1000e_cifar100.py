# Fine-tuning on CIFAR-100 with AdamW: facebookresearch/dino issue 144. Only the
# learning rate differs. Not confirmed: whether 5e-6 is the rate before DeiT's scaling
# by 768 / 512, which would make it equal to that of CIFAR-10.
_base_ = './transfer_adamw_1000e.py'

optim_wrapper = dict(optimizer=dict(lr=5e-6))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6 / 5e-6,
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    ),
    # To 1e-6. A ratio, since --auto-scale-lr scales the learning rate alone.
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-6 / 5e-6, by_epoch=True, begin=5),
]
