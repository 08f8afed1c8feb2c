# EsViT on 5,000 pictures of CIFAR-10: a two-stage Swin of 0.2 M parameters, no labels.
#
#   python tools/train.py THIS_FILE --cfg-options data_root=DIR
#   ... model.region_head=None                                 DINO: views alone
#
# Every setting is ours. A step takes 0.3 s of one CPU core, the run 1,248 of them.
#
# Seen halfway, after 624 steps (one run each, seed 0, torch 2.11 on a CPU): weighted
# k-NN, k=20, of 2,000 test pictures by the 5,000, top-1 in percent; one standard error
# of 2,000 pictures is 1.0. Random weights are those that the run began with.
#
#                      random weights   after 624 steps
#   views and regions       27.4             29.5
#   views alone             27.1             30.8
#
# Raw pixels have 36.6: a run this short does not reach them.
default_scope = 'mmpretrain'

# train/<class>/ and test/<class>/ of pictures; the classes are for k-NN alone.
data_root = 'data/cifar10'
epochs = 16
# Every tenth picture of the 50,000, every fifth of the 10,000.
train_part = list(range(0, 50000, 10))
test_part = list(range(0, 10000, 5))

data_preprocessor = dict(
    type='SelfSupDataPreprocessor',
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=True,
)
head = dict(
    type='mmtlalign.EsViTHead',
    in_channels=64,
    out_channels=512,
    hidden_channels=128,
    bottleneck_channels=64,
    norm_last_layer=True,
)
model = dict(
    type='mmtlalign.EsViT',
    backbone=dict(
        type='SwinTransformer',
        arch=dict(embed_dims=32, depths=[1, 3], num_heads=[2, 4]),
        img_size=32,
        patch_size=4,
        window_size=4,
        drop_path_rate=0.0,
        pad_small_map=True,
        out_indices=(1,),
        # The last stage is one window of a global view.
        stage_cfgs=[dict(), dict(block_cfgs=dict(shift=False))],
        # Layers as narrow as these learn slowly from the usual std of 0.02.
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    head=head,
    region_head=head,
)

changes = [
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomApply',
        transforms=dict(
            type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1
        ),
        prob=0.8,
    ),
    dict(
        type='RandomGrayscale',
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989),
    ),
]
global_view = [
    dict(type='RandomResizedCrop', scale=32, crop_ratio_range=(0.4, 1.0)),
    *changes,
]
local_view = [
    dict(type='RandomResizedCrop', scale=16, crop_ratio_range=(0.1, 0.4)),
    *changes,
]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        indices=train_part,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='MultiView', num_views=[2, 4], transforms=[global_view, local_view]
            ),
            dict(type='PackInputs'),
        ],
    ),
)
whole_image = [
    dict(type='LoadImageFromFile'),
    dict(type='PackInputs'),
]
bank = dict(
    batch_size=100,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        indices=train_part,
        pipeline=whole_image,
    ),
)
queries = dict(
    bank, dataset=dict(bank['dataset'], data_prefix='test', indices=test_part)
)

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=6e-4, weight_decay=0.04),
    paramwise_cfg=dict(flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=40),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=1,
        end=epochs,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    # A short run needs a teacher that follows faster than the recipe's 0.996.
    dict(
        type='mmtlalign.EsViTHook',
        momentum=0.99,
        teacher_temp=0.04,
        warmup_teacher_temp=0.04,
    ),
    dict(type='mmtlalign.TensorClipHook', max_norm=3.0),
    dict(
        type='mmtlalign.KNNHook',
        bank=bank,
        queries=queries,
        ks=(1, 10, 20),
        interval=2,
        at_start=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=epochs)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=26),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=2, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='gloo'),
)
randomness = dict(seed=0)
log_level = 'INFO'
load_from = None
resume = False
