# ImageNet's validation images, corrupted on the fly with one corruption and severity.
# They are not the images of ImageNet-C, so errors are never divided by AlexNet's.
_base_ = './imagenet_224.py'

_load, _resize, _crop, _ = _base_.test_pipeline
test_pipeline = [
    _load,
    _resize,
    _crop,
    dict(type='mmtlalign.Corrupt', name='gaussian_noise', severity=3),
    dict(
        type='PackInputs',
        meta_keys=('sample_idx', 'img_path', 'corruption', 'severity'),
    ),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_evaluator = dict(_delete_=True, type='mmtlalign.CorruptionError')
