# Settings shared by EsViT's recipes on ImageNet-1k: ten views, 300 epochs, and k-NN
# evaluation of the teacher every ten epochs, which is ours.
#
# The checkpoints of those epochs are kept, since later phases start from epochs in
# between, and published numbers are from such epochs: 30 files of 1.2 GB each with
# Swin-T (two networks, two heads each, the optimizer's moments; calculated, not
# measured). With less disk space:
#   ... --cfg-options default_hooks.checkpoint.max_keep_ckpts=2
_base_ = [
    '../../_base_/datasets/imagenet_224_multicrop.py',
    '../../_base_/schedules/esvit_300e.py',
    '../../_base_/runtime_cls.py',
]

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='mmtlalign.KNNHook',
        bank=_base_.knn_bank,
        queries=_base_.knn_queries,
        interval=10,
    ),
]
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=-1))
