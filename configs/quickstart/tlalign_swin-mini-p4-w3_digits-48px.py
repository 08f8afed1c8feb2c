# TL-Align on handwritten digits: a three-stage Swin of 0.6 M parameters.
#   bash tools/quickstart.sh    the whole quickstart, including this stage
#   python tools/train.py configs/quickstart/tlalign_swin-mini-p4-w3_digits-48px.py    only this stage, once the images exist
#   ... --cfg-options data_root=DIR    other images
# Expected: no published number.
# Measured: top-1 69.6 ± 1.1, seeds 0, 1, 2 (docs/results.md).
# Cost: about three minutes on one CPU core.
# Source: no published source.
# Ours: every value of the recipe, chosen so that the network learns within the time
# above.
_base_ = './_base_/runtime.py'
default_scope = 'mmpretrain'

# Folder with train/<class>/ and val/<class>/, images of any size.
data_root = 'data/quickstart/digits'
num_classes = 10
max_iters = 360

data_preprocessor = dict(
    num_classes=num_classes,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='SwinTransformer',
        arch=dict(embed_dims=32, depths=[1, 2, 2], num_heads=[1, 2, 4]),
        img_size=48,
        patch_size=4,
        window_size=3,
        drop_path_rate=0.0,
        out_indices=(2,),
        # Layers as narrow as these learn slowly with the usual std of 0.02.
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='mmtlalign.TLAlignLinearClsHead',
        num_classes=num_classes,
        in_channels=128,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    # Half of the batches are mixed; if all were, such a short run would learn little.
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)],
        probs=[0.5],
    ),
)

# No flips: a mirrored 2 is not a digit.
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(48, 48)),
            dict(type='RandomCrop', crop_size=48, padding=4, padding_mode='edge'),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=1,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='val',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(48, 48)),
            dict(type='PackInputs'),
        ],
    ),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
# For the inferencers of the OpenMMLab libraries (docs/inference.md).
test_pipeline = val_dataloader['dataset']['pipeline']
visualizer = dict(
    type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={'.relative_position_bias_table': dict(decay_mult=0.0)},
    ),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=20),
]
train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=max_iters)
val_cfg = dict()
test_cfg = dict()
