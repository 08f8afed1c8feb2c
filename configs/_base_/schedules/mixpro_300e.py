# 300 epochs as in MixPro's official configs, for a batch of 1024: the same as
# ``deit_300e.py``, but with 20 epochs of warm-up.
_base_ = './deit_300e.py'

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        end=20,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20),
]
