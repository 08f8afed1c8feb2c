# CIFAR-100 enlarged to 224 pixels, as for fine-tuning in DHVT's official code: the
# augmentation of ImageNet, on images that are already RGB.
_base_ = './cifar100_224px.py'

mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
train_pipeline = [
    dict(
        type='mmtlalign.RandomResizedCrop',
        scale=224,
        backend='torch',
        interpolation='bicubic',
    ),
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
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=mean,
        fill_std=std,
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(
        type='ResizeEdge',
        scale=256,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
