# ImageNet-1k with random crops and flips alone, as DINO and EsViT (official code) train
# a linear layer on frozen features; tested like its base.
_base_ = './imagenet_224.py'

train_dataloader = dict(
    batch_size=256,
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='mmtlalign.RandomResizedCrop',
                scale=224,
                backend='torch',
                interpolation='bilinear',
            ),
            dict(type='mmtlalign.RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ]
    ),
)
