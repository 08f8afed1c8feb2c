# LV-ViT-L with token labels and MixToken on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/token_labeling/token-label_lvvit-large-p16_8xb128-coslr-310e_in1k.py 8 --amp
# Label maps, once for all configs (8.3 GB, see docs/label_maps.md):
#   python tools/dataset_converters/make_label_maps.py data/imagenet/train data/imagenet_maps \
#       --annotator timm:dm_nfnet_f6.dm_in1k --size 576
# Expected: no published number at 224 pixels that we could confirm. Without maps, as in
# the control mixtoken_lvvit-large-p16, there is no published number that we could
# confirm.
# Measured: not yet.
# Cost: not measured by us.
# Source: the authors' command for this size, with its own learning rate and three
# operations of RandAugment; what it does not set is as for LV-ViT-S, the base config.
# Ours: the same as in the base config.
_base_ = './token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py'

model = dict(
    backbone=dict(arch='large', drop_path_rate=0.3), head=dict(in_channels=768)
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,  # from 1e-6
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5, end=300),
]

_plain_pipeline, train_pipeline = [
    [
        dict(step, num_policies=3) if 'RandAugment' in step.type else step
        for step in steps
    ]
    for steps in (_base_._plain_pipeline, _base_.train_pipeline)
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# In the test, the crop covers the whole short side.
test_pipeline = [
    dict(step, scale=224) if step.type == 'ResizeEdge' else step
    for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
