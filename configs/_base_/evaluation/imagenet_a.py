# ImageNet-A: accuracy and calibration among its 200 classes.
# To compare with ImageNet's own images of these classes: --cfg-options
# data_root=data/imagenet/val test_dataloader.dataset.clean=True
_base_ = './imagenet_224.py'

data_root = 'data/imagenet-a'
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmtlalign.ImageNetSubset',
        which='a',
        data_root=data_root,
        pipeline=_base_.test_pipeline,
    )
)
test_evaluator = [
    dict(type='mmtlalign.SubsetAccuracy', which='a'),
    dict(type='mmtlalign.Calibration', which='a'),
]
