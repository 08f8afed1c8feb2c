# DeiT-S with token labels and MixToken on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/token_labeling/token-label_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Label maps, once for all configs (8.3 GB, see docs/label_maps.md):
#   python tools/dataset_converters/make_label_maps.py data/imagenet/train data/imagenet_maps \
#       --annotator timm:dm_nfnet_f6.dm_in1k --size 576
# Expected: no published number that we could confirm. The control is
# mixtoken_deit-small-p16.
# Measured: not yet.
# Cost: not measured by us.
# Source: schedule, repeated augmentation and test crop of TL-Align's DeiT-S
# (tlalign_deit-small-p16_8xb128-coslr-300e_in1k); label maps, losses, MixToken and
# augmentation of LV-ViT-S (token-label_lvvit-small-p16).
# Ours: the combination of these parts.
_base_ = [
    '../_base_/models/lvvit_small.py',
    '../_base_/datasets/imagenet_224_label_maps.py',
    '../_base_/schedules/deit_300e.py',
    '../_base_/runtime_cls.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        out_type='raw',
        drop_path_rate=0.1,
    ),
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
)

# Repeated augmentation: each image occurs three times in a batch over all GPUs.
train_dataloader = dict(sampler=dict(type='RepeatAugSampler', shuffle=True))
test_pipeline = [
    dict(step, scale=256) if step.type == 'ResizeEdge' else step
    for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
