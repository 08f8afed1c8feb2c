# Ours: UPerNet's optimiser for a small data set. 4,000 iterations of batch 16 are 174
# epochs of CamVid's 367 images; a tenth of them is warm-up.
_base_ = './upernet_160k.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=400),
    dict(type='PolyLR', eta_min=0.0, power=1.0, by_epoch=False, begin=400, end=4000),
]
train_cfg = dict(max_iters=4000, val_interval=1000)
