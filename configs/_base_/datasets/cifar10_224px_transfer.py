# CIFAR-10 for fine-tuning as DeiT's code reads it at 224 pixels: enlarged, cropped,
# augmented and tested as ImageNet, without random erasing. The images are RGB arrays.
# Of 50,000 images 8 GPUs make 65 steps an epoch.
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
        # RGB here, unlike on images that are read from files.
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
    # Each image three times in a batch of all GPUs. The same epoch's length.
    sampler=dict(type='RepeatAugSampler', shuffle=True),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
