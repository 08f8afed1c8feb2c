# Persons in COCO images on the small Swin: a narrow Cascade Mask R-CNN.
#   python tools/experiments/pretrain_to_downstream.py configs/plans/imagenette_swin-mini.py
#   python tools/train.py configs/small/cascade-mask-rcnn_swin-mini-p4-w4_fpn_coco-persons.py --cfg-options pretrained=FILE.pth
# Expected: no published number.
# Measured: box AP50 1.6 ± 0.4, mask AP50 0.4 ± 0.2 from TL-Align; 1.7 ± 0.3, 0.3 ± 0.1
# from its control; 1.3 ± 0.3, 0.2 ± 0.2 from random weights; seeds 0, 1, 2
# (docs/results.md).
# Cost: about two minutes on one CPU core.
# Source: the model is that of the COCO recipes.
# Ours: every value of the recipe, chosen so that the network learns within the time
# above.
_base_ = [
    './_base_/narrow_cascade.py',
    './_base_/coco_persons.py',
    './_base_/dense_schedule.py',
]
default_scope = 'mmdet'

# A checkpoint of one of the classification runs; None: random weights.
pretrained = None
max_iters = 160

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.SwinTransformer',
        arch=dict(embed_dims=32, depths=[2, 2, 2], num_heads=[1, 2, 4]),
        img_size=192,
        patch_size=4,
        window_size=4,
        out_indices=(0, 1, 2),
        pad_small_map=True,
        drop_path_rate=0.0,
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    neck=dict(in_channels=[32, 64, 128], num_outs=5),
)
custom_hooks = [
    dict(type='mmtlalign.PretrainedBackboneHook', new_layers=('norm0', 'norm1'))
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
