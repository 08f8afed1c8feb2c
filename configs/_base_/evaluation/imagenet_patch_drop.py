# ImageNet's validation images with a random half of 14x14 patches set to black.
_base_ = './imagenet_224.py'

_load, _resize, _crop, _pack = _base_.test_pipeline
test_pipeline = [
    _load,
    _resize,
    _crop,
    dict(type='mmtlalign.PatchDrop', ratio=0.5, grid=14),
    _pack,
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
