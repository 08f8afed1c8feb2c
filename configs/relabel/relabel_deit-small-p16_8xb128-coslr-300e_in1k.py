# DeiT-S with ReLabel and CutMix on ImageNet-1k, from scratch.
#   bash tools/dist_train.sh configs/relabel/relabel_deit-small-p16_8xb128-coslr-300e_in1k.py 8 --amp
# Label maps, once for all configs (8.3 GB, see docs/label_maps.md):
#   python tools/dataset_converters/make_label_maps.py data/imagenet/train data/imagenet_maps \
#       --annotator timm:dm_nfnet_f6.dm_in1k --size 576
# Expected: no published number that we could confirm. The control, which differs only
# in the labels, is the base config.
# Measured: not yet.
# Cost: not measured by us.
# Source: the base config.
# Ours: the use of this recipe for ReLabel. RandAugment, which may rotate and shift the
# crop, comes after it, as in DeiT; the label remains that of the crop.
_base_ = '../cutmix/cutmix_deit-small-p16_8xb128-coslr-300e_in1k.py'

label_map_root = 'data/imagenet_maps'

_load, _crop, _flip, _augment, _erase, _pack = _base_.train_pipeline
train_pipeline = [
    _load,
    dict(
        type='mmtlalign.LoadLabelMap',
        root=label_map_root,
        image_root=_base_.data_root + '/train',
        num_classes=1000,
        missing='error',
    ),
    dict(_crop, type='mmtlalign.RandomResizedCropWithMap'),
    dict(type='mmtlalign.ReLabel', num_classes=1000),
    _flip,
    _augment,
    _erase,
    _pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
