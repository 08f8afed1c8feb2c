# Imagenette at 64 pixels with label maps: the same images, schedule and network input;
# flip and crop also transform the map.
# Layout below data_root: imagenette224/{train,val}/<wnid>/*.JPEG and
# imagenette224_labelmaps/train/<wnid>/*.pt, whose classes are those of ImageNet.
# To make the maps yourself, use this command and add --cfg-options label_map_root=MAPS:
#   python tools/dataset_converters/make_label_maps.py DIR/imagenette224/train MAPS \
#       --annotator timm:tf_efficientnet_lite0
_base_ = './imagenette_64px.py'

data_root = 'data/real'
label_map_root = data_root + '/imagenette224_labelmaps/train'
train_dataloader = dict(
    collate_fn=dict(type='mmtlalign.collate_label_maps'),
    dataset=dict(
        data_root=data_root,
        data_prefix='imagenette224/train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='mmtlalign.LoadLabelMap',
                root=label_map_root,
                image_root=data_root + '/imagenette224/train',
                num_classes=1000,
                # The ImageNet class numbers of Imagenette's classes, in the order of
                # wnids.
                class_ids=[0, 217, 482, 491, 497, 566, 569, 571, 574, 701],
            ),
            dict(type='mmtlalign.FlipWithMap', prob=0.5, direction='horizontal'),
            dict(
                type='mmtlalign.RandomResizedCropWithMap',
                scale=64,
                crop_ratio_range=(0.35, 1.0),
            ),
            dict(type='mmtlalign.PoolLabelMap', size=8, num_classes=10),
            dict(type='PackInputs', algorithm_keys=('gt_label_map', 'gt_map_label')),
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, data_prefix='imagenette224/val')
)
test_dataloader = val_dataloader
