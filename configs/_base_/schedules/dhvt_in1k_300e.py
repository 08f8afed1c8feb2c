# DHVT's official script for DHVT-T on ImageNet: 5e-4 x batch / 512, batch 256. The
# paper says a batch of 512 for T and S: the same rate for each image.
_base_ = './dhvt_300e.py'

optim_wrapper = dict(optimizer=dict(lr=2.5e-4))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=4e-3,
        by_epoch=True,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=10),
]
auto_scale_lr = dict(base_batch_size=256)
