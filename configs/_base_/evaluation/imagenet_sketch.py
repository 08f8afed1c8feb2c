# ImageNet-Sketch: accuracy among all 1000 classes.
_base_ = './imagenet_224.py'

data_root = 'data/imagenet-sketch'
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmtlalign.ImageNetSketch',
        data_root=data_root,
        pipeline=_base_.test_pipeline,
    )
)
