# ImageNet-C: mean error and mCE on 75 sets of 50,000 images. One of them: --cfg-options
# test_dataloader.dataset.corruption=fog test_dataloader.dataset.severity=3
# The images are already cropped to 224.
_base_ = './imagenet_224.py'

data_root = 'data/imagenet-c'
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='CenterCrop', crop_size=224),
    dict(
        type='PackInputs',
        meta_keys=('sample_idx', 'img_path', 'corruption', 'severity'),
    ),
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmtlalign.ImageNetC',
        data_root=data_root,
        pipeline=test_pipeline,
    )
)
test_evaluator = dict(_delete_=True, type='mmtlalign.CorruptionError')
