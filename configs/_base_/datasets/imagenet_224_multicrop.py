# ImageNet-1k in two global views of 224 pixels and eight local ones of 96, as EsViT
# (ICLR 2022, official code) and DINO make them. Labels are used for k-NN only.
dataset_type = 'ImageNet'
data_root = 'data/imagenet'
data_preprocessor = dict(
    type='SelfSupDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
# Random values are drawn anew for every view. Images are BGR until the data
# preprocessor. Colour jitter does not take this into account: hue and saturation turn
# the other way round the same circle.
first = [
    dict(type='mmtlalign.RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandomApply',
        transforms=dict(
            type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1
        ),
        prob=0.8,
    ),
    dict(
        type='RandomGrayscale',
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989),
    ),
]
crop = dict(
    type='mmtlalign.RandomResizedCrop', backend='torch', interpolation='bicubic'
)
large = dict(crop, scale=224, crop_ratio_range=(0.4, 1.0))
small = dict(crop, scale=96, crop_ratio_range=(0.05, 0.4))
# The radius is drawn uniformly from the range.
blur = dict(
    type='GaussianBlur',
    magnitude_level=10,
    magnitude_range=(0.1, 2.0),
    magnitude_std='inf',
)
global_1 = [large, *first, dict(blur, prob=1.0)]
global_2 = [
    large,
    *first,
    dict(blur, prob=0.1),
    dict(type='Solarize', thr=128, prob=0.2),
]
local = [small, *first, dict(blur, prob=0.5)]

train_dataloader = dict(
    batch_size=32,
    num_workers=10,
    persistent_workers=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='MultiView',
                num_views=[1, 1, 8],
                transforms=[global_1, global_2, local],
            ),
            dict(type='PackInputs'),
        ],
    ),
)
# For `mmtlalign.KNNHook`: the images with known labels, and those to classify.
knn_bank = dict(
    batch_size=128,
    num_workers=8,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='ResizeEdge',
                scale=256,
                edge='short',
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='CenterCrop', crop_size=224),
            dict(type='PackInputs'),
        ],
    ),
)
knn_queries = dict(knn_bank, dataset=dict(knn_bank['dataset'], split='val'))
