# Token Labeling on Imagenette: an LV-ViT of six layers and 0.7 M parameters, label maps
# of an EfficientNet-Lite0.
#   python tools/experiments/pretrain_to_downstream.py configs/plans/imagenette_lvvit-mini.py
#   python tools/train.py configs/small/token-label_lvvit-mini-p8_imagenette-64px.py    only this stage
#   ... --cfg-options data_root=DIR    the folder of images and label maps
# Expected: no published number.
# Measured: top-1 52.1 ± 0.2, seeds 0, 1, 2 (docs/results.md).
# Cost: about three minutes on one CPU core.
# Source: no published source.
# Ours: every value of the recipe, chosen so that the network learns within the time
# above.
_base_ = './_base_/imagenette_maps_64px.py'

model = dict(
    type='mmtlalign.MixClassifier',
    backbone=dict(
        type='mmtlalign.LVViT',
        arch=dict(
            embed_dims=96,
            num_layers=6,
            num_heads=3,
            feedforward_channels=288,
            skip_lam=1.0,
            stem_channels=32,
        ),
        img_size=64,
        patch_size=8,
        out_type='raw',
    ),
    head=dict(
        type='mmtlalign.TokenLabelClsHead',
        num_classes=10,
        in_channels=96,
        # The map's label for the crop, averaged with the label of the image where both
        # agree: the official `ground_truth` switch.
        class_target='both',
        loss=dict(type='mmtlalign.TokenLabelLoss', dense_weight='code'),
        label_smooth_val=0.1,
    ),
    # Half of the batches are mixed; if all were, such a short run would learn little.
    train_cfg=dict(
        augments=[dict(type='mmtlalign.MixToken', alpha=1.0, patch_size=8)],
        probs=[0.5],
    ),
)
