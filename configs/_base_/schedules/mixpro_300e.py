# 300 epochs as MixPro's official configs run them, for a batch of 1024: as
# ``deit_300e.py``, with 20 epochs of warm-up.
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
