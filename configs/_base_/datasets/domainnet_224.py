# One of the six sets of DomainNet (ICCV 2019), 345 classes, augmented like ImageNet.
# Layout: SET/train/CLASS/*.jpg and SET/val/CLASS/*.jpg, the official lists
# SET_train.txt and SET_test.txt. Another set:
# --cfg-options data_root=data/domainnet/SET moves every path below with it.
_base_ = './imagenet_224.py'

dataset_type = 'CustomDataset'
data_root = 'data/domainnet/clipart'
data_preprocessor = dict(num_classes=345)
# A class without a folder would shift the labels of all classes after it. With 345
# names given, mmpretrain requires 345 folders; it does not compare the names.
metainfo = dict(classes=[f'class {number}' for number in range(345)])

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        data_prefix='train',
        metainfo=metainfo,
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        data_prefix='val',
        metainfo=metainfo,
        pipeline=_base_.test_pipeline,
    )
)
test_dataloader = val_dataloader
