# CamVid street scenes (Brostow et al. 2009) at 480x360, 11 classes, as the SegNet
# authors packed them: 367 images for training, 101 for validation.
# Layout: {train,val}/*.png, as in their archive, or *.jpg, and {train,val}annot/*.png;
# void is id 11.
# Another folder: --cfg-options data_root=DIR moves every path below with it.
# Ours: crops of 360 and the pipeline of ADE20K. A config that uses this file sets
# model.data_preprocessor.size to the crop and num_classes=11 in every head.
data_root = 'data/camvid'

classes = (
    'Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist'
).split()
palette = [
    [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222],
    [128, 128, 0], [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0],
    [0, 128, 192],
]  # fmt: skip

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    # Void becomes 255, which mmseg ignores in training and evaluation.
    dict(type='mmtlalign.IgnoreLabels', labels=(11,)),
    dict(
        type='RandomResize',
        scale=(480, 360),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=(360, 360), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(480, 360), keep_ratio=True),
    # After the resize, so that the score is measured at the size of the label map.
    dict(type='LoadAnnotations'),
    dict(type='mmtlalign.IgnoreLabels', labels=(11,)),
    dict(type='PackSegInputs'),
]
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=scale, keep_ratio=True)
                # 0.5 to 1.75 times the test size
                for scale in (
                    (240, 180),
                    (360, 270),
                    (480, 360),
                    (600, 450),
                    (720, 540),
                    (840, 630),
                )  # fmt: skip
            ],
            [
                dict(type='RandomFlip', prob=0.0, direction='horizontal'),
                dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            ],
            [dict(type='LoadAnnotations')],
            [dict(type='mmtlalign.IgnoreLabels', labels=(11,))],
            [dict(type='PackSegInputs')],
        ],
    ),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='mmtlalign.SegDataset',
        data_root=data_root,
        img_suffix=('.png', '.jpg'),
        metainfo=dict(classes=classes, palette=palette),
        data_prefix=dict(img_path='train', seg_map_path='trainannot'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmtlalign.SegDataset',
        data_root=data_root,
        img_suffix=('.png', '.jpg'),
        metainfo=dict(classes=classes, palette=palette),
        data_prefix=dict(img_path='val', seg_map_path='valannot'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
