# ImageNetV2; its other two sets: --cfg-options
# test_dataloader.dataset.variant=threshold0.7 (or top-images)
_base_ = './imagenet_224.py'

data_root = 'data/imagenetv2'
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmtlalign.ImageNetV2',
        variant='matched-frequency',
        data_root=data_root,
        pipeline=_base_.test_pipeline,
    )
)
