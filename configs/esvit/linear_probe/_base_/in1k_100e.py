# Settings shared by the linear evaluations on ImageNet-1k: 100 epochs on frozen
# features, six learning rates in one run, around the 0.001 to 0.01 of EsViT's official
# README.
_base_ = [
    '../../../_base_/datasets/imagenet_224_crops.py',
    '../../../_base_/schedules/linear_probe_100e.py',
    '../../../_base_/runtime_cls.py',
]

probe_head = dict(
    type='mmtlalign.LinearProbeHead',
    num_classes=1000,
    rates=[0.0003, 0.001, 0.003, 0.01, 0.03, 0.1],
)
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
val_evaluator = dict(_delete_=True, type='mmtlalign.ProbeAccuracy')
test_evaluator = dict(_delete_=True, type='mmtlalign.ProbeAccuracy')
default_hooks = dict(checkpoint=dict(save_best='probe/best_top1', rule='greater'))
