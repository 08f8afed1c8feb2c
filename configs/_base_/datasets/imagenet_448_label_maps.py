# ImageNet-1k at 448 pixels, 28x28 tokens, tested on the whole short side. All else is
# as in imagenet_224_label_maps.py.
_base_ = './imagenet_224_label_maps.py'

_plain_pipeline, train_pipeline = [
    [
        dict(step, transforms=[[dict(one, scale=448)] for (one,) in step.transforms])
        if step.type == 'RandomChoice'
        else dict(step, size=28)
        if step.type == 'mmtlalign.PoolLabelMap'
        else step
        for step in steps
    ]
    for steps in (_base_._plain_pipeline, _base_.train_pipeline)
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='ResizeEdge',
        scale=448,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=448),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
