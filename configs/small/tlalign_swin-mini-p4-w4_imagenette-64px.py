# TL-Align on Imagenette: a three-stage Swin of 0.6 M parameters.
#   python tools/experiments/pretrain_to_downstream.py configs/plans/imagenette_swin-mini.py
#   python tools/train.py configs/small/tlalign_swin-mini-p4-w4_imagenette-64px.py    only this stage
#   ... --cfg-options data_root=DIR    the folder of the images
# Expected: no published number.
# Measured: top-1 45.7 ± 0.2, seeds 0, 1, 2 (docs/results.md).
# Cost: about three minutes on one CPU core.
# Source: no published source.
# Ours: every value of the recipe, chosen so that the network learns within the time
# above.
_base_ = './_base_/imagenette_64px.py'

model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='SwinTransformer',
        arch=dict(embed_dims=32, depths=[2, 2, 2], num_heads=[1, 2, 4]),
        img_size=64,
        patch_size=4,
        window_size=4,
        drop_path_rate=0.0,
        out_indices=(2,),
        # Layers as narrow as these learn slowly with the usual std of 0.02.
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='mmtlalign.TLAlignLinearClsHead',
        num_classes=10,
        in_channels=128,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    # Half of the batches are mixed; if all were, such a short run would learn little.
    train_cfg=dict(
        augments=[dict(type='mmtlalign.TokenCutMix', alpha=1.0, patch_size=4)],
        probs=[0.5],
    ),
)
