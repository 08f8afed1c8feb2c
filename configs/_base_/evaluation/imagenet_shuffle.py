# ImageNet's validation images with 4x4 cells in a random order.
_base_ = './imagenet_224.py'

_load, _resize, _crop, _pack = _base_.test_pipeline
test_pipeline = [
    _load,
    _resize,
    _crop,
    dict(type='mmtlalign.GridShuffle', grid=4),
    _pack,
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
