# ImageNet-1k with label maps, as the released Token Labeling code reads it: flip,
# RandAugment and the crop last, each with the map, random interpolation, test crops
# of 0.9. What RandAugment and random erasing draw is in imagenet_224.py.
# Layout: data/imagenet/{train,val}/<wnid>/*.JPEG, and data/imagenet_maps, what
# tools/dataset_converters/make_label_maps.py makes of data/imagenet/train, or a folder of the released
# .pt files. Elsewhere: --cfg-options data_root=DIR label_map_root=DIR.
# topk=20: on maps of 18x18 cells with five classes each, 14x14 tokens name up to 45
# classes, 24x24 and more up to 20. Measured, in one random crop of each of 200 images
# of Imagenette (EfficientNet-Lite0 at 576 pixels): cut off is 0.0004 % of a token's
# label (0.4 % at most). None cuts nothing, in samples of 0.8 MB instead of 0.04. The
# label of the class token is whole in any case.
# Ours: axes of the crop in order, and maps that move exactly as the image does
# (docs/label_maps.md); RandAugment resamples bicubically.
_base_ = './imagenet_224.py'

label_map_root = 'data/imagenet_maps'

# Controls train without maps; the steps are the same.
_plain_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmtlalign.RandomFlip', prob=0.5, direction='horizontal'),
    *[step for step in _base_.train_pipeline if step.type == 'mmtlalign.RandAugment'],
    dict(
        type='RandomChoice',
        transforms=[
            [
                dict(
                    type='mmtlalign.RandomResizedCrop',
                    scale=224,
                    backend='torch',
                    interpolation=interpolation,
                )
            ]
            for interpolation in ('bilinear', 'bicubic')
        ],
    ),
    *[step for step in _base_.train_pipeline if step.type == 'RandomErasing'],
    dict(type='PackInputs'),
]
_load, _flip, _augment, _crop, _erase, _pack = _plain_pipeline
train_pipeline = [
    _load,
    dict(
        type='mmtlalign.LoadLabelMap',
        root=label_map_root,
        image_root=_base_.data_root + '/train',
        num_classes=1000,
        missing='error',
    ),
    dict(_flip, type='mmtlalign.FlipWithMap'),
    dict(_augment, type='mmtlalign.RandAugmentWithMap'),
    dict(
        _crop,
        transforms=[
            [dict(one, type='mmtlalign.RandomResizedCropWithMap')]
            for (one,) in _crop['transforms']
        ],
    ),
    dict(type='mmtlalign.PoolLabelMap', size=14, num_classes=1000, topk=20),
    _erase,
    dict(
        _pack,
        algorithm_keys=(
            'gt_label_map',
            'gt_label_map_index',
            'gt_map_label',
        ),
    ),
]
test_pipeline = [
    dict(step, scale=248) if step.type == 'ResizeEdge' else step
    for step in _base_.test_pipeline
]
train_dataloader = dict(
    dataset=dict(pipeline=train_pipeline),
    # Maps are stacked by the workers.
    collate_fn=dict(type='mmtlalign.collate_label_maps'),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
