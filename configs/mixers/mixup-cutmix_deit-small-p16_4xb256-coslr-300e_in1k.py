# Control of SMMix, the mixing of DeiT: DeiT-S on ImageNet-1k with Mixup and CutMix,
# from scratch.
#   bash tools/dist_train.sh configs/mixers/mixup-cutmix_deit-small-p16_4xb256-coslr-300e_in1k.py 4 --amp
# Expected: top-1 79.8 for plain DeiT-S with its own recipe (ICML 2021).
# Measured: not yet.
# Cost: not measured by us.
# Source: official SMMix code (ChenMnZ/SMMix) and its README; ICCV 2023. Mixup 0.8 and
# CutMix 1.0 in half of the batches each, as in DeiT.
# Ours: the matched control: only the mixing and its loss terms differ.
_base_ = [
    '../_base_/models/deit_small.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/deit_300e.py',
    '../_base_/runtime_cls.py',
]

train_pipeline = [
    step for step in _base_.train_pipeline if step['type'] != 'RandomErasing'
]
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=train_pipeline))
model = dict(
    head=dict(type='VisionTransformerClsHead'),
    train_cfg=dict(
        _delete_=True,
        augments=[
            dict(type='mmtlalign.CutMix', alpha=1.0),
            dict(type='mmtlalign.Mixup', alpha=0.8),
        ],
        probs=[0.5, 0.5],
    ),
)
