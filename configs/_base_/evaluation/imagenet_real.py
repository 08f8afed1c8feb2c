# ImageNet's validation images with the labels of ReaL.
_base_ = './imagenet_224.py'

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmtlalign.ImageNetReaL',
        data_root=_base_.data_root + '/val',
        pipeline=_base_.test_pipeline,
    )
)
test_evaluator = dict(_delete_=True, type='mmtlalign.ReaLAccuracy')
