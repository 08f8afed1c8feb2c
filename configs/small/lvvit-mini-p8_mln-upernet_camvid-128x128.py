# CamVid segmentation on the small LV-ViT: the decoder of the small DeiT.
#   python tools/experiments/pretrain_to_downstream.py configs/plans/imagenette_lvvit-mini.py
#   python tools/train.py configs/small/lvvit-mini-p8_mln-upernet_camvid-128x128.py --cfg-options pretrained=FILE.pth
# Expected: no published number.
# Measured: not yet; we ran it for a dozen iterations only (docs/results.md).
# Cost: about two minutes on one CPU core.
# Source: no published source.
# Ours: every value of the recipe.
_base_ = './deit-mini-p8_mln-upernet_camvid-128x128.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmtlalign.LVViT',
        arch=dict(
            embed_dims=96,
            num_layers=6,
            num_heads=3,
            feedforward_channels=288,
            skip_lam=1.0,
            stem_channels=32,
        ),
        img_size=128,
        patch_size=8,
        out_type='featmap',
        out_indices=(1, 3, 4, 5),
    )
)
