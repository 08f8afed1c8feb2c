# CIFAR-10 enlarged to 224 pixels, with ImageNet's normalisation, in RGB.
_base_ = './cifar10_32px.py'

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
train_pipeline = [
    dict(type='Resize', scale=224, interpolation='bicubic'),
    dict(type='RandomCrop', crop_size=224, padding=28),
    dict(type='mmtlalign.RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='mmtlalign.RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[124, 116, 104], interpolation='bicubic'),
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='Resize', scale=224, interpolation='bicubic'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
