# ImageNet-O, to be distinguished from ImageNet's validation images of the same 200
# classes.
_base_ = './imagenet_224.py'

data_root = 'data/imagenet-o'
_halves = [
    dict(
        type='mmtlalign.ImageNetSubset',
        which='o',
        clean=clean,
        data_root=root,
        pipeline=_base_.test_pipeline,
    )
    for clean, root in ((False, data_root), (True, _base_.data_root + '/val'))
]
test_dataloader = dict(
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=_halves)
)
test_evaluator = dict(_delete_=True, type='mmtlalign.OutOfDistribution', which='o')
