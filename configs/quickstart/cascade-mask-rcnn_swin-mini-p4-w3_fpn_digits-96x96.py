# Cascade Mask R-CNN on the small Swin: a box and a mask for every digit.
#   bash tools/quickstart.sh    the whole quickstart, including this stage
#   python tools/train.py configs/quickstart/cascade-mask-rcnn_swin-mini-p4-w3_fpn_digits-96x96.py --cfg-options pretrained=FILE.pth
#   ... --cfg-options data_root=DIR    other images
# Expected: no published number.
# Measured: box AP 19.5, mask AP 14.6 from TL-Align; 16.7, 12.3 from its control; 21.2,
# 14.5 from random weights; one seed: 0 (docs/results.md).
# Cost: about a minute and a half on one CPU core.
# Source: the model is that of the COCO recipes, with fewer channels and proposals.
# Ours: the schedule, chosen so that the network learns within the time above.
_base_ = ['../_base_/models/cascade_mask_rcnn_swin_fpn.py', './_base_/runtime.py']
default_scope = 'mmdet'

# A checkpoint of one of the classification runs; None: random weights.
pretrained = None
# Folder with train2017/, val2017/ and annotations/instances_{train,val}2017.json as in
# COCO.
data_root = 'data/quickstart/coco'
classes = tuple('zero one two three four five six seven eight nine'.split())
max_iters = 100
width = 48

box_heads = _base_.model.roi_head.bbox_head
for head in box_heads:
    head.update(
        num_shared_convs=1,
        in_channels=width,
        conv_out_channels=width,
        fc_out_channels=128,
        num_classes=len(classes),
    )
samplers = _base_.model.train_cfg.rcnn
for stage in samplers:
    stage.sampler.update(num=32)

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.SwinTransformer',
        arch=dict(embed_dims=32, depths=[1, 2, 2], num_heads=[1, 2, 4]),
        img_size=96,
        patch_size=4,
        window_size=3,
        out_indices=(0, 1, 2),
        pad_small_map=True,
        drop_path_rate=0.0,
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    neck=dict(in_channels=[32, 64, 128], out_channels=width, num_outs=3),
    rpn_head=dict(
        in_channels=width,
        feat_channels=width,
        anchor_generator=dict(strides=[4, 8, 16]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width, featmap_strides=[4, 8, 16]),
        bbox_head=box_heads,
        mask_roi_extractor=dict(out_channels=width, featmap_strides=[4, 8, 16]),
        mask_head=dict(
            num_convs=1,
            in_channels=width,
            conv_out_channels=width,
            num_classes=len(classes),
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=64),
        rcnn=samplers,
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=200, max_per_img=50),
        rcnn=dict(max_per_img=20),
    ),
)
custom_hooks = [
    dict(type='mmtlalign.PretrainedBackboneHook', new_layers=('norm0', 'norm1'))
]

train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        metainfo=dict(classes=classes),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='Resize', scale=(96, 96), keep_ratio=True),
            dict(type='PackDetInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        metainfo=dict(classes=classes),
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(96, 96), keep_ratio=True),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(
                type='PackDetInputs',
                meta_keys=(
                    'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
                ),
            ),
        ],
    ),
)  # fmt: skip
val_evaluator = dict(
    type='CocoMetric',
    ann_file=data_root + '/annotations/instances_val2017.json',
    metric=['bbox', 'segm'],
)
test_dataloader = val_dataloader
test_evaluator = val_evaluator
# For the inferencers of the OpenMMLab libraries (docs/inference.md).
test_pipeline = val_dataloader['dataset']['pipeline']
visualizer = dict(
    type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            'relative_position_bias_table': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
        }
    ),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=20),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
