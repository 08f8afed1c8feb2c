"""Networks of the benchmark made small."""

from dataclasses import replace

from tools.benchmarks.step.models import MODELS, Network

# Images of two by two tokens: the real DeiT-T, so that timm has the same.
DEIT = replace(MODELS['deit-tiny'], size=32)
SWIN_ARCH = dict(embed_dims=16, depths=[2, 2], num_heads=[1, 2])
SWIN = Network(
    dict(
        type='SwinTransformer',
        arch=SWIN_ARCH,
        out_indices=(1,),
        img_size=56,
        drop_path_rate=0.0,
    ),
    size=56,
    has_reference=True,
)
# Maps of 13 and 7 tokens a side: windows are padded, then there is but one.
ODD_SWIN = replace(SWIN, backbone=dict(SWIN.backbone, img_size=52), size=52)
VIT = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=16)
DHVT = Network(
    dict(type='mmtlalign.DHVT', arch=VIT, patch_size=16),
    size=64,
    patch=16,
    has_reference=True,
)
PVT_ARCH = dict(
    embed_dims=(8, 16, 16, 16),
    num_layers=(1, 2, 1, 2),
    num_heads=(1, 1, 2, 2),
    mlp_ratios=(2, 2, 2, 2),
    sr_ratios=(8, 4, 2, 1),
    patch_sizes=(4, 2, 2, 2),
)
PVT = Network(
    dict(type='mmtlalign.PVT', arch=PVT_ARCH, img_size=64), size=64, has_reference=True
)
REFERENCE = dict(deit=DEIT, swin=SWIN, odd_swin=ODD_SWIN, dhvt=DHVT, pvt=PVT)
