# Control of SMMix: PVT-T on ImageNet-1k with Mixup and CutMix, from scratch.
#   bash tools/dist_train.sh configs/mixers/mixup-cutmix_pvt-tiny_4xb256-coslr-300e_in1k.py 4 --amp
# Expected: top-1 75.1 for plain PVT-T with its own recipe (ICCV 2021).
# Measured: not yet.
# Cost: not measured by us.
# Source: official SMMix code (ChenMnZ/SMMix) and its README; ICCV 2023. Mixup 0.8 and
# CutMix 1.0 in half of the batches each.
# Ours: the matched control: only the mixing and its loss terms differ.
_base_ = [
    '../_base_/models/pvt_tiny.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/deit_300e.py',
    '../_base_/runtime_cls.py',
]

train_pipeline = [
    step for step in _base_.train_pipeline if step['type'] != 'RandomErasing'
]
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'.pos_embed': dict(decay_mult=1.0)})
)
