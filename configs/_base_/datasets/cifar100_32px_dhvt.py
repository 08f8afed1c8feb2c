# CIFAR-100 as in DHVT's official script: ImageNet's mean and standard deviation, and
# random erasing. The augmentation is drawn as on ImageNet, but the crop is padded.
_base_ = './cifar100_32px.py'

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        # RGB here, unlike images that are read from files.
        hparams=dict(pad_val=[124, 116, 104], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=data_preprocessor['mean'],
        fill_std=data_preprocessor['std'],
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    # Repeated augmentation: each image occurs three times in a batch over all GPUs.
    sampler=dict(type='RepeatAugSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
