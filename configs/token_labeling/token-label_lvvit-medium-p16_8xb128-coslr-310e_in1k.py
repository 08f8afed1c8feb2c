# LV-ViT-M with token labels and MixToken on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/token_labeling/token-label_lvvit-medium-p16_8xb128-coslr-310e_in1k.py 8 --amp
# Label maps, once for all configs (8.3 GB, see docs/label_maps.md):
#   python tools/dataset_converters/make_label_maps.py data/imagenet/train data/imagenet_maps \
#       --annotator timm:dm_nfnet_f6.dm_in1k --size 576
# Expected: top-1 84.0, from the authors' README. Without maps, as in the control
# mixtoken_lvvit-medium-p16, there is no published number that we could confirm.
# Measured: not yet.
# Cost: not measured by us.
# Source: the authors' command for this size; what it does not set is as for LV-ViT-S,
# the base config.
# Ours: the same as in the base config.
_base_ = './token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py'

model = dict(
    backbone=dict(arch='medium', drop_path_rate=0.2), head=dict(in_channels=512)
)

# In the test, the crop covers the whole short side.
test_pipeline = [
    dict(step, scale=224) if step.type == 'ResizeEdge' else step
    for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
