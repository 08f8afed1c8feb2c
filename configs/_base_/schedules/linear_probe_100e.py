# Linear evaluation as in DINO and EsViT (official code): SGD without weight decay, 100
# epochs, a cosine to 0 by epochs, a batch of 1024. Each layer of the head has its own
# multiple of `lr`, which is batch / 256 as in the official scaling.
optim_wrapper = dict(
    constructor='mmtlalign.LinearProbeOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=4.0, momentum=0.9, weight_decay=0.0),
)
param_scheduler = dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
