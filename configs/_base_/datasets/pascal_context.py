# Pascal Context, 60 classes with background as class 0: crops of 480 from images with a
# short side of 520, as in the Segmenter authors' training (their code's
# data/config/pascal_context.py with im_size 520, crop_size 480, max_ratio 8).
# Layout: that of VOC2010, with SegmentationClassContext/ and
# ImageSets/SegmentationContext/{train,val}.txt as mmseg prepares them.
# Another folder: --cfg-options data_root=DIR moves every path below with it.
data_root = 'data/VOCdevkit/VOC2010'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    # The data set says whether label 0 is a class: here it is the background.
    dict(type='LoadAnnotations'),
    # mmseg 1.2.2 has (520, 520), which makes the long side 520.
    dict(
        type='RandomResize',
        scale=(4160, 520),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=(480, 480), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(4160, 520), keep_ratio=True),
    # After the resize, so that the score is measured at the size of the label map.
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(8 * short, short), keep_ratio=True)
                for short in (260, 390, 520, 650, 780, 910)  # 0.5 to 1.75
            ],
            [
                dict(type='RandomFlip', prob=0.0, direction='horizontal'),
                dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            ],
            [dict(type='LoadAnnotations')],
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
        type='PascalContextDataset',
        data_root=data_root,
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassContext'
        ),
        ann_file='ImageSets/SegmentationContext/train.txt',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PascalContextDataset',
        data_root=data_root,
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassContext'
        ),
        ann_file='ImageSets/SegmentationContext/val.txt',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
