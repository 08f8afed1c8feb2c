# PVT-M on ImageNet-1k, from scratch: the official recipe.
#   bash tools/dist_train.sh configs/pvt/pvt-medium_8xb128-coslr-300e_in1k.py 8 --amp
# Expected: top-1 81.2 (ICCV 2021).
# Measured: not yet.
# Cost: not measured by us.
# Source: official script (whai362/PVT, classification). It is DeiT's, except for drop
# path and gradient clipping of the larger sizes, and for position embeddings, which
# have weight decay.
# Ours: see schedules/deit_300e.py; --amp is bfloat16 on recent GPUs. The official fp16:
# --cfg-options optim_wrapper.type=AmpOptimWrapper.
_base_ = [
    '../_base_/models/pvt_tiny.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/deit_300e.py',
    '../_base_/runtime_cls.py',
]

model = dict(backbone=dict(arch='medium', drop_path_rate=0.3))
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'.pos_embed': dict(decay_mult=1.0)}),
    clip_grad=dict(max_norm=1.0),
)

# Repeated augmentation, as in the official script: each image occurs three times in a
# batch over all GPUs.
train_dataloader = dict(sampler=dict(type='RepeatAugSampler', shuffle=True))
