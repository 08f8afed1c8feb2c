# UperNet on the small Swin: every pixel is paper or one of ten digits.
#   bash tools/quickstart.sh    the whole quickstart, including this stage
#   python tools/train.py configs/quickstart/swin-mini-p4-w3_upernet_digits-96x96.py --cfg-options pretrained=FILE.pth
#   ... --cfg-options data_root=DIR    other images
# Expected: no published number.
# Measured: mIoU 21.2 from TL-Align, 19.5 from its control, 13.9 from random weights,
# one seed: 0 (docs/results.md).
# Cost: about a minute on one CPU core.
# Source: the model is that of the ADE20K recipes, with fewer channels.
# Ours: the schedule, chosen so that the network learns within the time above.
_base_ = ['../_base_/models/upernet_swin.py', './_base_/runtime.py']
default_scope = 'mmseg'

# A checkpoint of one of the classification runs; None: random weights.
pretrained = None
# Folder with {images,annotations}/{training,validation} as in ADE20K; label 0 is no
# class.
data_root = 'data/quickstart/ade'
classes = ('paper', *'zero one two three four five six seven eight nine'.split())
palette = [
    [40, 40, 40], [230, 25, 75], [60, 180, 75], [255, 225, 25], [67, 99, 216],
    [245, 130, 49], [145, 30, 180], [70, 240, 240], [240, 50, 230], [188, 246, 12],
    [250, 190, 190],
]  # fmt: skip
max_iters = 160
# Nine of ten pixels are paper. With full weight for them, such a short run never learns
# the digits.
_loss = dict(
    class_weight=[0.1] + [1.0] * 10,
    # A sum over pixels, as mmseg 1.2.2 (the classic stack) has no weighted mean where
    # pixels are ignored. The weights of a batch add up to about 12,000.
    reduction='sum',
    loss_weight=1 / 12000,
)

model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.SwinTransformer',
        arch=dict(embed_dims=32, depths=[1, 2, 2], num_heads=[1, 2, 4]),
        img_size=96,
        patch_size=4,
        window_size=3,
        out_indices=(0, 1, 2),
        pad_small_map=True,
        drop_path_rate=0.0,
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    decode_head=dict(
        in_channels=[32, 64, 128],
        in_index=[0, 1, 2],
        channels=48,
        num_classes=len(classes),
        loss_decode=_loss,
    ),
    auxiliary_head=dict(
        in_channels=128,
        channels=32,
        num_classes=len(classes),
        loss_decode=dict(_loss, loss_weight=0.4 / 12000),
    ),
)
custom_hooks = [
    dict(type='mmtlalign.PretrainedBackboneHook', new_layers=('norm0', 'norm1'))
]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BaseSegDataset',
        data_root=data_root,
        metainfo=dict(classes=classes, palette=palette),
        reduce_zero_label=True,
        data_prefix=dict(
            img_path='images/training', seg_map_path='annotations/training'
        ),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', reduce_zero_label=True),
            dict(type='Resize', scale=(96, 96)),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset',
        data_root=data_root,
        metainfo=dict(classes=classes, palette=palette),
        reduce_zero_label=True,
        data_prefix=dict(
            img_path='images/validation', seg_map_path='annotations/validation'
        ),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(96, 96)),
            # After the resize, so that the score is measured at the size of the label
            # map.
            dict(type='LoadAnnotations', reduce_zero_label=True),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_dataloader = val_dataloader
test_evaluator = val_evaluator
# For the inferencers of the OpenMMLab libraries (docs/inference.md).
test_pipeline = val_dataloader['dataset']['pipeline']
visualizer = dict(
    type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1.5e-3, weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys={
            'relative_position_bias_table': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
        }
    ),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=20),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict()
test_cfg = dict()
