# LV-ViT-S with token labels and MixToken on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/token_labeling/token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py 8 --amp
# Label maps, once for all configs (8.3 GB, see docs/label_maps.md):
#   python tools/dataset_converters/make_label_maps.py data/imagenet/train data/imagenet_maps \
#       --annotator timm:dm_nfnet_f6.dm_in1k --size 576
# Expected: top-1 83.3, from the authors' README. Without maps, as in the control
# mixtoken_lvvit-small-p16, there is no published number that we could confirm.
# Measured: not yet.
# Cost: not measured by us.
# Source: the authors' command for 8 GPUs and the defaults of their script; see
# schedules/token_label_310e.py and datasets/imagenet_224_label_maps.py.
# Ours: the choices marked as ours in these two files, and torch's mixed precision
# instead of apex's.
_base_ = [
    '../_base_/models/lvvit_small.py',
    '../_base_/datasets/imagenet_224_label_maps.py',
    '../_base_/schedules/token_label_310e.py',
    '../_base_/runtime_cls.py',
]

randomness = dict(seed=42)
