# Persons in COCO images on the small DeiT: a narrow Cascade Mask R-CNN.
#   python tools/experiments/pretrain_to_downstream.py configs/plans/imagenette_deit-mini.py
#   python tools/train.py configs/small/cascade-mask-rcnn_deit-mini-p8_pyramid-fpn_coco-persons.py --cfg-options pretrained=FILE.pth
# Expected: no published number.
# Measured: box AP50 0.4 ± 0.2, mask AP50 0.0 ± 0.1 from TL-Align; 0.5 ± 0.2, 0.0 ± 0.1
# from its control; 0.5 ± 0.3, 0.0 ± 0.0 from random weights; seeds 0, 1, 2
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
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=96, num_layers=6, num_heads=3, feedforward_channels=384),
        img_size=192,
        patch_size=8,
        out_type='featmap',
        out_indices=(1, 3, 4, 5),
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    # The necks of the list run one after the other. Tokens are 8 pixels apart, so the
    # strides of the pyramid are 4, 8, 16 and 32.
    neck=[
        dict(type='mmseg.Feature2Pyramid', embed_dim=96, rescales=[2, 1, 0.5, 0.25]),
        dict(type='FPN', in_channels=[96] * 4, out_channels=_base_.width, num_outs=5),
    ],
)
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
