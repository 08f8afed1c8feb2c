# ImageNet's validation pictures, corrupted on the fly: one corruption and severity. Not
# the pictures of ImageNet-C, so never divided by AlexNet's errors.
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
