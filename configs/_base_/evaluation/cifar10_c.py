# CIFAR-10-C at its own 32 pixels, in RGB: mean error, as AugMix reports it.
data_root = 'data/cifar10-c'
test_pipeline = [
    dict(type='PackInputs', meta_keys=('sample_idx', 'corruption', 'severity'))
]
test_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='mmtlalign.CIFARC', data_root=data_root, pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = dict(type='mmtlalign.CorruptionError')
test_cfg = dict()
