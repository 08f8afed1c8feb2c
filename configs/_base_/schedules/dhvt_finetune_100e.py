# DHVT's official script for fine-tuning DHVT-S from ImageNet, which the paper also
# describes for DHVT-T: 5e-4 x batch / 512, batch 256, almost no weight decay.
_base_ = './dhvt_300e.py'

optim_wrapper = dict(optimizer=dict(lr=2.5e-4, weight_decay=1e-8))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=4e-3,
        by_epoch=True,
        end=2,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=2),
]
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=256)

# Reads the top-level `pretrained`; the head is new.
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
