# CIFAR-10 for fine-tuning at 224 pixels, as in DeiT's code: enlarged, cropped,
# augmented and tested like ImageNet, without random erasing. The images are RGB arrays.
# With 50,000 images, an epoch on 8 GPUs has 65 steps.
_base_ = './cifar10_224px.py'

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
        # RGB here, unlike images that are read from files.
        hparams=dict(pad_val=[124, 116, 104], interpolation='bicubic'),
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
train_dataloader = dict(
    batch_size=96,
    num_workers=8,
    dataset=dict(pipeline=train_pipeline),
    # Repeated augmentation: each image occurs three times in a batch over all GPUs. The
    # length of an epoch does not change.
    sampler=dict(type='RepeatAugSampler', shuffle=True),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
