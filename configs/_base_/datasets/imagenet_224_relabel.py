# ImageNet-1k as in the released ReLabel code (naver-ai/relabel_imagenet): crop, flip,
# colour jitter; tested on crops of 0.875.
# Layout: data/imagenet/{train,val}/<wnid>/*.JPEG, and data/imagenet_maps, which is the
# output of tools/dataset_converters/make_label_maps.py for data/imagenet/train, or a
# folder of .pt files. Other folders: --cfg-options data_root=DIR label_map_root=DIR.
# The label has no rows and columns, so a flip after the crop does not change it.
# Ours: the axes of the crop are in the right order (docs/label_maps.md); no AlexNet
# lighting after the jitter, since mmpretrain's step rounds to bytes that overflow, from
# white to black.
_base_ = './imagenet_224.py'

label_map_root = 'data/imagenet_maps'
# The labels of the controls are converted to soft labels as well.
data_preprocessor = dict(to_onehot=True)

# The controls train on the labels of the images; the steps are the same.
_plain_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='mmtlalign.RandomResizedCrop',
        scale=224,
        backend='torch',
        interpolation='bilinear',
    ),
    dict(type='mmtlalign.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(type='PackInputs'),
]
_load, _crop, _flip, _jitter, _pack = _plain_pipeline
train_pipeline = [
    _load,
    dict(
        type='mmtlalign.LoadLabelMap',
        root=label_map_root,
        image_root=_base_.data_root + '/train',
        num_classes=1000,
        missing='error',
    ),
    dict(_crop, type='mmtlalign.RandomResizedCropWithMap'),
    dict(type='mmtlalign.ReLabel', num_classes=1000),
    _flip,
    _jitter,
    _pack,
]
test_pipeline = [
    dict(step, interpolation='bilinear') if step.type == 'ResizeEdge' else step
    for step in _base_.test_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
