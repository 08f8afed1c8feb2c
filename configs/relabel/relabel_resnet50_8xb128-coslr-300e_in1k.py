# ResNet-50 with ReLabel on ImageNet-1k, from scratch: the label of an image is the one
# that its label map gives for the crop.
#   bash tools/dist_train.sh configs/relabel/relabel_resnet50_8xb128-coslr-300e_in1k.py 8 --amp
# Label maps, once for all configs (8.3 GB, see docs/label_maps.md):
#   python tools/dataset_converters/make_label_maps.py data/imagenet/train data/imagenet_maps \
#       --annotator timm:dm_nfnet_f6.dm_in1k --size 576
# Expected: top-1 78.9 (77.5 with the labels of the images), from the authors' README,
# with label maps of their annotator.
# Measured: not yet.
# Cost: not measured by us.
# Source: the released config of this network (naver-ai/relabel_imagenet; CVPR 2021);
# see schedules/relabel_300e.py and datasets/imagenet_224_relabel.py.
# Ours: the choices marked as ours in these two files; the annotator, since we could not
# confirm the authors'; torch's mixed precision instead of apex's.
_base_ = [
    '../_base_/models/resnet50_soft.py',
    '../_base_/datasets/imagenet_224_relabel.py',
    '../_base_/schedules/relabel_300e.py',
    '../_base_/runtime_cls.py',
]
