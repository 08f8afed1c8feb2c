# Oxford Flowers-102, augmented like ImageNet but without random erasing. Trained on the
# official train and val lists together, 2040 images: 2 steps an epoch on 8 GPUs.
# Tested on 6149. Layout: jpg/, imagelabels.mat, setid.mat as they are downloaded.
_base_ = './imagenet_224.py'

dataset_type = 'Flowers102'
data_root = 'data/flowers102'
data_preprocessor = dict(num_classes=102)
train_pipeline = [
    step for step in _base_.train_pipeline if step.type != 'RandomErasing'
]

train_dataloader = dict(
    batch_size=96,
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        split='trainval',
        pipeline=train_pipeline,
    ),
    # Repeated augmentation: each image occurs three times in a batch over all GPUs. The
    # length of an epoch does not change.
    sampler=dict(type='RepeatAugSampler', shuffle=True),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        split='test',
        pipeline=_base_.test_pipeline,
    )
)
test_dataloader = val_dataloader
