# CamVid segmentation on the small DeiT: a narrow UperNet with MultiLevelNeck.
#   python tools/experiments/pretrain_to_downstream.py configs/plans/imagenette_deit-mini.py
#   python tools/train.py configs/small/deit-mini-p8_mln-upernet_camvid-128x128.py --cfg-options pretrained=FILE.pth
# Expected: no published number.
# Measured: mIoU 20.8 ± 0.3 from TL-Align, 20.9 ± 0.1 from its control, 22.4 ± 0.6 from
# random weights, seeds 0, 1, 2 (docs/results.md).
# Cost: about two minutes on one CPU core.
# Source: the model is that of the ADE20K recipes.
# Ours: every value of the recipe, chosen so that the network learns within the time
# above.
_base_ = [
    '../_base_/models/upernet_deit.py',
    './_base_/camvid_128px.py',
    './_base_/dense_schedule.py',
]
default_scope = 'mmseg'

# A checkpoint of one of the classification runs; None: random weights.
pretrained = None
max_iters = 300

model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=96,
            num_layers=6,
            num_heads=3,
            feedforward_channels=384,
        ),
        img_size=128,
        patch_size=8,
        out_indices=(1, 3, 4, 5),
        drop_path_rate=0.0,
        init_cfg=dict(
            _delete_=True, type='Xavier', layer='Linear', distribution='uniform'
        ),
    ),
    # Tokens are 8 pixels apart, so the strides of the maps are 4, 8, 16 and 32.
    neck=dict(in_channels=[96] * 4, out_channels=96, scales=[2, 1, 0.5, 0.25]),
    decode_head=dict(in_channels=[96] * 4, channels=48, num_classes=11),
    auxiliary_head=dict(in_channels=96, channels=32, num_classes=11),
)
custom_hooks = [dict(type='mmtlalign.PretrainedBackboneHook')]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
