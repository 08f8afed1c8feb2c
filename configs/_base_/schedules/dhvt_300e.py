# 300 epochs as in DHVT's official script for DHVT-T on CIFAR, for a batch of 512; the
# learning rate is 1e-3 x batch / 512.
# Ours: the learning rate warms up by iteration rather than by epoch, and the cosine
# starts when the warm-up ends. In the official code its phase counts from epoch 0, and
# the first epoch's rate is used twice. The official code also keeps averaged weights,
# but never evaluates them; they are not kept here.
optim_wrapper = dict(
    optimizer=dict(
        type='AdamW', lr=1e-3, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999)
    ),
    # Head embeddings and the affine scales of the patch embedding do have weight decay.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={'.cls_token': dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=512)
