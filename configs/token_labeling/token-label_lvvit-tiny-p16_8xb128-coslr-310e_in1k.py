# LV-ViT-T with token labels and MixToken on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/token_labeling/token-label_lvvit-tiny-p16_8xb128-coslr-310e_in1k.py 8 --amp
# Label maps, once for all configs (8.3 GB, see docs/label_maps.md):
#   python tools/dataset_converters/make_label_maps.py data/imagenet/train data/imagenet_maps \
#       --annotator timm:dm_nfnet_f6.dm_in1k --size 576
# Expected: top-1 79.1, from the authors' README (an independent run without mixed
# precision: 79.6). Without maps, as in the control mixtoken_lvvit-tiny-p16, there is no
# published number that we could confirm.
# Measured: not yet.
# Cost: not measured by us.
# Source: the recipe of LV-ViT-S, the base config; depth, width and drop path of the
# released code (issue 23 of its tracker).
# Ours: the same as in the base config.
_base_ = './token-label_lvvit-small-p16_8xb128-coslr-310e_in1k.py'

model = dict(backbone=dict(arch='tiny'), head=dict(in_channels=240))
