# ImageNet-1k with label maps, as in the released Token Labeling code: flip, RandAugment
# and last the crop, each also applied to the map; random interpolation; test crops of
# 0.9. The settings of RandAugment and random erasing are in imagenet_224.py.
# Layout: data/imagenet/{train,val}/<wnid>/*.JPEG, and data/imagenet_maps, which is the
# output of tools/dataset_converters/make_label_maps.py for data/imagenet/train, or a
# folder of the released .pt files.
# Other folders: --cfg-options data_root=DIR label_map_root=DIR.
# topk=20: with maps of 18x18 cells with five classes each, a token has up to 45 classes
# on a grid of 14x14 tokens, and up to 20 on grids of 24x24 and more. Measured on one
# random crop of each of 200 images of Imagenette (EfficientNet-Lite0 at 576 pixels):
# 0.0004 % of a token's label is cut off (0.4 % at most). None cuts off nothing, but
# samples have 0.8 MB instead of 0.04. The label of the class token is complete in any
# case.
# Ours: the axes of the crop are in the right order, and maps move exactly like the
# image (docs/label_maps.md); RandAugment resamples bicubically.
_base_ = './imagenet_224.py'

label_map_root = 'data/imagenet_maps'

# The controls train without label maps; the steps are the same.
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
    # The workers stack the maps.
    collate_fn=dict(type='mmtlalign.collate_label_maps'),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
