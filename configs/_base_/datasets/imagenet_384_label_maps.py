# ImageNet-1k at 384 pixels, 24x24 tokens, test crops of 0.9. All else is as in
# imagenet_224_label_maps.py.
_base_ = './imagenet_224_label_maps.py'

_plain_pipeline, train_pipeline = [
    [
        dict(step, transforms=[[dict(one, scale=384)] for (one,) in step.transforms])
        if step.type == 'RandomChoice'
        else dict(step, size=24)
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
        scale=426,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=384),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
