# The released ReLabel code for ResNet-50 (naver-ai/relabel_imagenet): batch 1024, 300
# epochs, warm-up from 0 and cosine to 0, both by iteration; all parameters have weight
# decay.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,  # 0 is not accepted
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=True,
        begin=5,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
