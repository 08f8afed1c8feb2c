# CamVid (480 x 360, 11 classes) at 240 x 180, crops of 128. The sizes are ours.
# Layout and label ids: configs/_base_/datasets/camvid.py.
_base_ = '../../_base_/datasets/camvid.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='mmtlalign.IgnoreLabels', labels=(11,)),  # void
    dict(
        type='RandomResize', scale=(240, 180), ratio_range=(0.8, 1.5), keep_ratio=True
    ),
    dict(type='RandomCrop', crop_size=(128, 128), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(240, 180), keep_ratio=True),
    # After the resize, so that the score is measured at the size of the label map.
    dict(type='LoadAnnotations'),
    dict(type='mmtlalign.IgnoreLabels', labels=(11,)),  # void
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=scale, keep_ratio=True)
                # 0.5 to 1.75 times the test size
                for scale in (
                    (120, 90),
                    (180, 135),
                    (240, 180),
                    (300, 225),
                    (360, 270),
                    (420, 315),
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
    batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=False,
    dataset=dict(pipeline=test_pipeline),
)
test_dataloader = val_dataloader
# For the inferencers of the OpenMMLab libraries (docs/inference.md).
visualizer = dict(
    type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
