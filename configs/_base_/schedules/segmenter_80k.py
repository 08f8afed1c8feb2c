# The Segmenter authors' 256 epochs of Pascal Context (4,998 images) in batches of 16,
# with the learning rate of ADE20K.
_base_ = './segmenter_160k.py'

param_scheduler = [
    dict(type='PolyLR', eta_min=1e-5, power=0.9, by_epoch=False, end=80000)
]
train_cfg = dict(max_iters=80000, val_interval=8000)
auto_scale_lr = dict(base_batch_size=16)
