# SGD without weight decay, clipping or warm-up: Segmenter authors' code. Their 64
# epochs of ADE20K in batches of 8 are 161,000 iterations. The learning rate decreases
# to 1e-5; in mmseg 1.2.2 it decreases to 1e-4 in 160k iterations.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=1e-3, momentum=0.9, weight_decay=0.0),
)
param_scheduler = [
    dict(type='PolyLR', eta_min=1e-5, power=0.9, by_epoch=False, end=160000)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# 8 GPUs x 1 image. --auto-scale-lr scales the learning rate for another batch size.
auto_scale_lr = dict(enable=False, base_batch_size=8)
